import { Header } from "../../shell/header.tsx";
import { Budgets } from "./budgets.tsx";
import { Costs } from "./costs.tsx";
import { Jobs } from "./jobs.tsx";
import "./status.css";

/** What is configured, what goes on, what it costs. */
export function StatusScreen() {
  return (
    <>
      <Header title="Status" note="All of it is live" />
      <div className="body">
        <div className="sheet status">
          <Jobs />
          <Costs />
          <Budgets />
        </div>
      </div>
    </>
  );
}
