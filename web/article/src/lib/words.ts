// How numbers, errors and places are said.
import { ConvexError } from "convex/values";

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `1234` → `1,234`. */
export function count(value: number): string {
  return counts.format(value);
}

/** `1, "chunk"` → `1 chunk`; `2, "chunk"` → `2 chunks`. */
export function many(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Say a length of time given in milliseconds: `820 ms`, `4.2 s`, `3 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** Return what went wrong, without the client's envelope around it. */
export function reasonOf(error: unknown): string {
  if (error instanceof ConvexError) {
    const data: unknown = error.data;
    return typeof data === "string" ? data : JSON.stringify(data);
  }
  const message = error instanceof Error ? error.message : String(error);
  return message
    .replace(/^\[CONVEX [^\]]*\]\s*(\[Request ID: [^\]]*\]\s*)?(Server Error\s*)?/, "")
    .replace(/\n\s*Called by client\s*$/, "")
    .trim() || "The server gave no reason.";
}

/** Say where a chunk stands: `shutil.py:12–40`, or `lines 12–40` where there is no file. */
export function placeInFile(file: string | null | undefined, lines: { from: number; to: number } | undefined): string {
  if (!lines) return file ?? "";
  const range = lines.from === lines.to ? `${lines.from}` : `${lines.from}–${lines.to}`;
  if (file) return `${file}:${range}`;
  return lines.from === lines.to ? `line ${range}` : `lines ${range}`;
}

/** Return a text without the name it begins with: `shutil.move: Move a file` → `Move a file`. */
export function withoutName(name: string | null | undefined, text: string): string {
  if (!name || !text.startsWith(name)) return text;
  const rest = text.slice(name.length);
  return /^[:\n]\s*\S/.test(rest) ? rest.slice(1).trimStart() : text;
}
