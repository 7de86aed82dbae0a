// Where the page is: a tab and what it shows, kept in the address, so that reload, back and a shared link work.
import { useCallback, useSyncExternalStore } from "react";

export const TABS = ["search", "sources", "compare"] as const;
export type Tab = (typeof TABS)[number];

export type Place = {
  tab: Tab;
  /** The text searched for, on the search tab. */
  input: string;
  /** The chunk compared, on the compare tab. */
  chunk: string;
};

/** Read `#/search?q=…`, `#/sources` or `#/compare?chunk=…`; anything else is the search tab. */
export function placeOf(hash: string): Place {
  const [path = "", question = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = new URLSearchParams(question);
  const tab = TABS.find((name) => name === path) ?? "search";
  return { tab, input: params.get("q") ?? "", chunk: params.get("chunk") ?? "" };
}

/** Write a place the way `placeOf` reads it. */
export function hashOf(place: Partial<Place> & { tab: Tab }): string {
  const params = new URLSearchParams();
  if (place.tab === "search" && place.input) params.set("q", place.input);
  if (place.tab === "compare" && place.chunk) params.set("chunk", place.chunk);
  const question = params.toString();
  return `#/${place.tab}${question ? `?${question}` : ""}`;
}

function subscribe(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}

/** Return the present place and a function that goes to another. */
export function usePlace(): [Place, (to: Partial<Place> & { tab: Tab }) => void] {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash);
  const go = useCallback((to: Partial<Place> & { tab: Tab }) => {
    window.location.hash = hashOf(to);
  }, []);
  return [placeOf(hash), go];
}
