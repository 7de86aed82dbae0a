import { Header } from "../../shell/header.tsx";
import { Budgets } from "./budgets.tsx";
import { Costs } from "./costs.tsx";
import { Gate } from "./gate.tsx";
import { Jobs } from "./jobs.tsx";
import { Live } from "./live.tsx";
import { Quality } from "./quality.tsx";
import "./status.css";

/** What is configured, what goes on, what it costs. */
export function StatusScreen() {
  return (
    <>
      <Header title="Status" note="All of it is live" />
      <div className="body">
        <div className="sheet status">
          <Gate />
          <Jobs />
          <Costs />
          <Budgets />
          <Live />
          <Quality />
        </div>
      </div>
    </>
  );
}
