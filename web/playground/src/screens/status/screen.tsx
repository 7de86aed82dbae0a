import type { ReactNode } from "react";
import { Boundary } from "../../parts/boundary.tsx";
import { Header } from "../../shell/header.tsx";
import { Budgets } from "./budgets.tsx";
import { Costs } from "./costs.tsx";
import { Gate } from "./gate.tsx";
import { Jobs } from "./jobs.tsx";
import { Live } from "./live.tsx";
import { Quality } from "./quality.tsx";
import "./status.css";

const PARTS: [string, () => ReactNode][] = [
  ["The configuration", Gate],
  ["The list of jobs", Jobs],
  ["The ledger", Costs],
  ["The budgets", Budgets],
  ["The live subscriptions", Live],
  ["The quality of searches", Quality],
];

/** What is configured, what goes on, what it costs. */
export function StatusScreen() {
  return (
    <>
      <Header title="Status" note="All of it is live" />
      <div className="body">
        <div className="sheet status">
          {PARTS.map(([what, Part]) => (
            <Boundary key={what} what={what}>
              <Part />
            </Boundary>
          ))}
        </div>
      </div>
    </>
  );
}
