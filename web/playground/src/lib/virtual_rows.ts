import { useCallback, useEffect, useRef, useState } from "react";

const BEYOND = 8;

/** Tell which rows of a long list of equally high ones are to be drawn, and keep the chosen one in sight. */
export function useVirtualRows(rows: number, rowPx: number, chosen: number | null) {
  const ref = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const scrolled = useCallback(() => {
    const box = ref.current;
    if (box) setView({ top: box.scrollTop, height: box.clientHeight });
  }, []);
  useEffect(scrolled, [scrolled, rows]);
  useEffect(() => {
    const box = ref.current;
    if (!box || chosen === null) return;
    const top = chosen * rowPx;
    if (top < box.scrollTop || top + rowPx > box.scrollTop + box.clientHeight)
      box.scrollTop = top - box.clientHeight / 3;
  }, [chosen, rowPx]);
  const first = Math.max(0, Math.floor(view.top / rowPx) - BEYOND);
  const last = Math.min(rows, Math.ceil((view.top + view.height) / rowPx) + BEYOND);
  return { ref, scrolled, first, last };
}
