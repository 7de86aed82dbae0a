import { Tooltip } from "@mantine/core";
import { useConvexConnectionState } from "convex/react";

/** Says whether what is shown is live. */
export function Connection() {
  const { isWebSocketConnected, hasEverConnected, connectionRetries } = useConvexConnectionState();
  const state = isWebSocketConnected ? "live" : hasEverConnected || connectionRetries > 1 ? "lost" : "connecting";
  const label = { live: "Live", lost: "Reconnecting…", connecting: "Connecting…" }[state];
  const hint = isWebSocketConnected
    ? "Connected: what changes on the server appears here by itself"
    : "No connection to the server; the page reconnects by itself";
  return (
    <Tooltip label={hint} position="top-start">
      <div role="status" className="connection" data-state={state}>
        <span className="pulse" />
        {label}
      </div>
    </Tooltip>
  );
}
