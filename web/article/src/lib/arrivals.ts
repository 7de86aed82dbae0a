import { useEffect, useRef, useState } from "react";

/** Say whether a list is past its first rendering: a row that mounts now has just arrived. */
export function useArrivals(): boolean {
  const isSettled = useRef(false);
  useEffect(() => {
    isSettled.current = true;
  }, []);
  return isSettled.current;
}

/** Return the attribute that lets a row light up if it arrived after its list was first shown. */
export function useArrival(arrives: boolean): { "data-new"?: true } {
  const [isNew] = useState(arrives);
  return isNew ? { "data-new": true } : {};
}
