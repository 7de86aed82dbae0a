import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "convex/react";
import { sources } from "../../api/sources.ts";
import { lines, withoutHeading } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";
import type { Pointed } from "./canvas.tsx";

/** What the dot under the pointer says. */
export function Tip({ pointed, rank }: { pointed: Pointed; rank: number | undefined }) {
  const [asked] = useDebouncedValue(pointed.point.chunk, 60);
  const chunk = useQuery(sources.chunk, { chunk: asked });
  const source = useQuery(sources.get, { source: pointed.point.source });
  const isThis = asked === pointed.point.chunk;
  return (
    <div
      className="map-tip"
      style={{ left: pointed.x, top: pointed.y }}
      data-below={pointed.y < 190 || undefined}
      data-right={pointed.x < 170 || undefined}
    >
      <p className="map-tip-head">
        <Dot of={pointed.point.source} />
        <strong className="cut">{source?.name ?? "…"}</strong>
        {rank !== undefined && <span className="tag">hit {rank}</span>}
        {isThis && chunk && <span className="quiet">{lines(chunk.firstLine, chunk.lastLine)}</span>}
      </p>
      <p className="map-tip-text">
        {isThis && chunk
          ? withoutHeading(chunk.text, chunk.headings)
          : isThis && chunk === null
            ? "Changed or deleted since the map was made."
            : "…"}
      </p>
    </div>
  );
}
