import type { ResultRow } from "../../api/searches.ts";
import { hashOf } from "../../lib/place.ts";
import { lines } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";

type FoundProps = { rows: ResultRow[]; pointed: string | null; point: (chunk: string | null) => void };

/** The question's hits as a list, lit on the map as one goes through them. */
export function Found({ rows, pointed, point }: FoundProps) {
  return (
    <section className="map-found" aria-label="Nearest to the question">
      <h2 className="panel-title">Nearest to the question</h2>
      <ol>
        {rows.map((row) => (
          <li key={row._id} data-pointed={pointed === row._id || undefined}>
            <a
              className="plain"
              data-row
              href={hashOf("sources", row.source, { chunk: row._id })}
              onPointerEnter={() => point(row._id)}
              onPointerLeave={() => point(null)}
              onFocus={() => point(row._id)}
              onBlur={() => point(null)}
            >
              <Dot of={row.source} />
              <span className="cut">{row.name ?? row.headings.at(-1) ?? row.sourceName}</span>
              <span className="quiet number">{row.score.toFixed(2)}</span>
              <span className="facts cut">
                {row.sourceName}, {lines(row.firstLine, row.lastLine)}
              </span>
            </a>
          </li>
        ))}
      </ol>
    </section>
  );
}
