import type { MapState } from "../../api/maps.ts";
import { count } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";

type LegendProps = { largest: MapState["largest"]; only: string | null; show: (source: string | null) => void };

/** Which colour is whose; a click shows one source alone. */
export function Legend({ largest, only, show }: LegendProps) {
  return (
    <section className="legend" aria-label="Sources">
      <h2 className="panel-title">Sources</h2>
      <ul>
        {largest.map((source) => (
          <li key={source.source}>
            <button
              type="button"
              data-row
              aria-pressed={only === source.source}
              onClick={() => show(only === source.source ? null : source.source)}
            >
              <Dot of={source.source} />
              <span className="cut">{source.name}</span>
              <span className="quiet number">{count(source.count)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
