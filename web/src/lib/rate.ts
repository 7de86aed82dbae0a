import { useEffect, useRef, useState } from "react";

const WINDOW_MS = 6000;

type Sample = { at: number; value: number };

/** Return how fast a growing number has grown lately, per second; null before there is anything to go by. */
export function useRate(value: number | undefined): number | null {
  const samples = useRef<Sample[]>([]);
  const [rate, setRate] = useState<number | null>(null);
  useEffect(() => {
    if (value === undefined) return;
    const measure = () => {
      const now = performance.now();
      const kept = samples.current.filter((sample) => now - sample.at <= WINDOW_MS);
      const last = kept.at(-1);
      if (!last || last.value !== value) kept.push({ at: now, value });
      samples.current = kept;
      const oldest = kept[0]!;
      setRate(now - oldest.at < 400 ? null : Math.max(0, (value - oldest.value) / ((now - oldest.at) / 1000)));
    };
    measure();
    const timer = window.setInterval(measure, 1000);
    return () => window.clearInterval(timer);
  }, [value]);
  return rate;
}
