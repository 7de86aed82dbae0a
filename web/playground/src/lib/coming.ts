import { type RefCallback, useCallback, useEffect, useRef } from "react";

const MARGIN = "600px";

/** Return a ref for an element near whose coming into view something is to happen. */
export function useComing(act: (() => void) | undefined): RefCallback<HTMLElement> {
  const latest = useRef(act);
  useEffect(() => {
    latest.current = act;
  });
  return useCallback((element: HTMLElement | null) => {
    if (!element) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && latest.current?.(),
      { rootMargin: MARGIN },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
}
