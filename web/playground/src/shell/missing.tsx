import { useQuery } from "convex/react";
import { status } from "../api/status.ts";
import { hashOf } from "../lib/place.ts";
import { WarningIcon } from "../parts/icons.tsx";

/** Says on every screen what the corpus can't work without; goes away by itself once it is there. */
export function Missing() {
  const gate = useQuery(status.check, {});
  if (!gate || gate.ready) return null;
  const missing = gate.checks.filter((check) => check.state === "missing");
  return (
    <div role="alert" className="missing">
      <WarningIcon />
      <span>{missing.map((check) => check.text).join("; ")}</span>
      <a className="link" href={hashOf("status")}>
        What to do
      </a>
    </div>
  );
}
