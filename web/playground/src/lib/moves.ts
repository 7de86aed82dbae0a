import { useEffect, useRef, useState } from "react";

const SHOWN_MS = 6000;

/** Return how many places each id went up since the list last changed, for a few seconds. */
export function useMoves(ids: string[]): Map<string, number> {
  const before = useRef<string[] | null>(null);
  const [moves, setMoves] = useState<Map<string, number>>(new Map());
  const key = ids.join();
  useEffect(() => {
    const former = before.current;
    before.current = key ? key.split(",") : [];
    if (former === null || former.join() === key) return;
    const found = new Map<string, number>();
    before.current.forEach((id, place) => {
      const was = former.indexOf(id);
      if (was >= 0 && was !== place) found.set(id, was - place);
    });
    setMoves(found);
    const timer = setTimeout(() => setMoves(new Map()), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [key]);
  return moves;
}
