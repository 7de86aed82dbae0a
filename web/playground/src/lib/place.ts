// Where the page is, kept in the address, so that reload, back and a shared link work.
import { useSyncExternalStore } from "react";

export const SCREENS = ["sources", "search", "compare", "map", "ask", "status"] as const;
export type Screen = (typeof SCREENS)[number];

export type Place = {
  screen: Screen;
  /** What the screen shows one of: a source, a search, a chunk, a thread. */
  id: string | null;
  params: URLSearchParams;
};

/** Read `#/screen/id?further=…`; anything else is the first screen. */
export function placeOf(hash: string): Place {
  const [path = "", question = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [name = "", id = ""] = path.split("/", 2);
  const screen = SCREENS.find((one) => one === name) ?? "sources";
  return { screen, id: id ? decodeURIComponent(id) : null, params: new URLSearchParams(question) };
}

type Further = Record<string, string | number | null | undefined>;

/** Write a place the way `placeOf` reads it; what is empty is left out. */
export function hashOf(screen: Screen, id?: string | null, further: Further = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(further)) {
    if (value !== null && value !== undefined && value !== "") params.set(name, String(value));
  }
  const question = params.toString();
  return `#/${screen}${id ? `/${encodeURIComponent(id)}` : ""}${question ? `?${question}` : ""}`;
}

/** Go somewhere else, as a click on a link does. */
export function go(screen: Screen, id?: string | null, further?: Further): void {
  window.location.hash = hashOf(screen, id, further);
}

/** Say something more about this place without a new entry in the browser's history. */
export function amend(further: Further): void {
  const { screen, id, params } = placeOf(window.location.hash);
  const hash = hashOf(screen, id, { ...Object.fromEntries(params), ...further });
  if (hash === window.location.hash) return;
  window.history.replaceState(null, "", hash);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

function subscribe(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}

/** Return the present place. */
export function usePlace(): Place {
  return placeOf(useSyncExternalStore(subscribe, () => window.location.hash));
}
