// What the keyboard does, in one list: the same is bound, shown under "?" and offered by the palette.
import { useHotkeys } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import { go, type Screen } from "../lib/place.ts";

export const GO_KEYS: Record<Screen, string> = {
  sources: "s",
  search: "f",
  compare: "c",
  map: "m",
  ask: "a",
  status: "t",
};

export const SHORTCUTS: { title: string; keys: [keys: string[], what: string][] }[] = [
  {
    title: "Anywhere",
    keys: [
      [["Ctrl", "K"], "Search everything and go anywhere"],
      [["/"], "Search the corpus"],
      [["N"], "Add a source"],
      [["?"], "These shortcuts"],
      [["D"], "Dark or light"],
      [["Esc"], "Close, or leave a field"],
    ],
  },
  {
    title: "Go to",
    keys: [
      [["G", "S"], "Sources"],
      [["G", "F"], "Search lab (find)"],
      [["G", "C"], "Compare"],
      [["G", "M"], "Map"],
      [["G", "A"], "Ask"],
      [["G", "T"], "Status"],
    ],
  },
  {
    title: "In lists",
    keys: [
      [["J"], "Next row"],
      [["K"], "Row before"],
      [["Enter"], "Open"],
      [["C"], "Compare the chunk"],
      [["X"], "Explain the score"],
      [["P"], "Pin or unpin the search"],
    ],
  },
];

const SEQUENCE_MS = 1200;

/** Go to a screen with G and its letter. */
export function useGoKeys(): void {
  const since = useRef(0);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const key = event.key.toLowerCase();
      if (key === "g") {
        since.current = event.timeStamp;
        return;
      }
      if (event.timeStamp - since.current > SEQUENCE_MS) return;
      since.current = 0;
      const screen = (Object.keys(GO_KEYS) as Screen[]).find((one) => GO_KEYS[one] === key);
      if (!screen) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      go(screen);
    };
    window.addEventListener("keydown", pressed, { capture: true });
    return () => window.removeEventListener("keydown", pressed, { capture: true });
  }, []);
}

/** Move through the rows of a list (elements with `data-row`) with J and K. */
export function useRowKeys(): void {
  useHotkeys([
    ["j", () => step(1)],
    ["k", () => step(-1)],
  ]);
}

function step(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main [data-row]")];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))]!;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement | null;
  return target !== null && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
