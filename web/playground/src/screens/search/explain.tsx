import type { Explained, Leg, Mode, ResultRow } from "../../api/searches.ts";
import { lines } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";

/** What each way of searching made of a chunk. */
export function Why({ row, weight, mode }: { row: ResultRow; weight: number; mode: Mode }) {
  return (
    <dl className="why number">
      {mode !== "text" && <LegLine name="meaning" share={mode === "hybrid" ? weight : null} leg={row.dense} />}
      {mode !== "dense" && <LegLine name="words" share={mode === "hybrid" ? 1 - weight : null} leg={row.words} />}
      {row.importance !== 1 && (
        <div>
          <dt>importance</dt>
          <dd>× {row.importance}</dd>
        </div>
      )}
      {row.rerank != null && (
        <div>
          <dt>reranker</dt>
          <dd>{row.rerank.toFixed(3)}</dd>
        </div>
      )}
    </dl>
  );
}

function LegLine({ name, share, leg }: { name: string; share: number | null; leg: Leg }) {
  return (
    <div>
      <dt>
        {name}
        {share !== null && <span className="quiet"> {Math.round(share * 100)} %</span>}
      </dt>
      <dd>
        {leg.score == null ? "not found" : leg.score.toFixed(3)}
        {leg.rank != null && <span className="quiet"> rank {leg.rank}</span>}
        {leg.why && <span className="why-text">{leg.why}</span>}
      </dd>
    </div>
  );
}

/** What nearly made it, and why it did not. */
export function LeftOut({ rows }: { rows: Explained["leftOut"] }) {
  if (rows.length === 0) return null;
  return (
    <details className="left-out">
      <summary>Left out ({rows.length})</summary>
      <ul>
        {rows.map(({ row, why }) => (
          <li key={row._id}>
            <Dot of={row.source} />
            <span>
              {row.name ?? row.sourceName}, {lines(row.firstLine, row.lastLine)} <span className="quiet">{why}</span>
            </span>
          </li>
        ))}
      </ul>
    </details>
  );
}
