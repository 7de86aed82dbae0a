import { useQueries } from "convex/react";
import { useMemo } from "react";
import { type MapState, maps, type Points } from "../../api/maps.ts";
import type { Point } from "./view.ts";

/** Return all points of a map, or null while some of them are on their way. */
export function usePoints(state: MapState | undefined): Point[] | null {
  const version = state?.version ?? 0;
  const blocks = version > 0 ? (state?.blocks ?? 0) : 0;
  const asked = useMemo(
    () =>
      Object.fromEntries(
        Array.from({ length: blocks }, (_, number) => [
          String(number),
          { query: maps.points, args: { version, number } },
        ]),
      ),
    [version, blocks],
  );
  const found = useQueries(asked) as Record<string, Points | null | undefined | Error>;
  return useMemo(() => {
    const points: Point[] = [];
    for (let number = 0; number < blocks; number += 1) {
      const block = found[String(number)];
      if (block instanceof Error) throw block;
      if (!block) return null;
      block.chunks.forEach((chunk, index) => {
        points.push({ chunk, source: block.sources[block.source[index]!]!, x: block.x[index]!, y: -block.y[index]! });
      });
    }
    return points;
  }, [found, blocks]);
}
