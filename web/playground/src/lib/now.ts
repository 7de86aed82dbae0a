import { useSyncExternalStore } from "react";

const TICK_MS = 15_000;

let now = Date.now();

function subscribe(changed: () => void): () => void {
  const timer = setInterval(() => {
    now = Date.now();
    changed();
  }, TICK_MS);
  return () => clearInterval(timer);
}

/** Return the time in milliseconds, fresh enough for "4 min ago". */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
