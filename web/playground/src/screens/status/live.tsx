import { useQuery } from "convex/react";
import { status } from "../../api/status.ts";
import { count, many } from "../../lib/words.ts";
import { Waiting } from "../../parts/small.tsx";
import { Panel } from "./panel.tsx";

/** Who watches what; each different query runs once for all who follow it. */
export function Live() {
  const live = useQuery(status.live, {});
  const most = Math.max(1, ...(live?.functions.map((one) => one.watchers) ?? []));
  return (
    <Panel
      title="Live subscriptions"
      end={
        live && (
          <span className="panel-note number">
            {many(live.queries, "query", "queries")}, {many(live.watchers, "connection")}
          </span>
        )
      }
    >
      {live === undefined ? (
        <Waiting rows={3} />
      ) : (
        <ul className="watched number" tabIndex={0}>
          {live.functions.map((one) => (
            <li key={one.path}>
              <span className="mono cut">{one.path}</span>
              <span className="thin-bar" aria-hidden="true">
                <span style={{ width: `${(one.watchers / most) * 100}%` }} />
              </span>
              <span title={many(one.watchers, "watcher")}>{count(one.watchers)}</span>
              <span className="quiet">{many(one.queries, "query", "queries")}</span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
