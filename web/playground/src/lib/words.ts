// How numbers, times, errors and places in texts are said.
import { ConvexError } from "convex/values";

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** `1234` → `1,234`. */
export function count(value: number): string {
  return counts.format(value);
}

/** `12345` → `12.3K`. */
export function brief(value: number): string {
  return short.format(value);
}

/** `1, "chunk"` → `1 chunk`; `2, "chunk"` → `2 chunks`; `2, "query", "queries"` → `2 queries`. */
export function many(value: number, noun: string, plural = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

/** Say a length of time given in milliseconds: `0.4 ms`, `820 ms`, `4.2 s`, `3 min`. */
export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return ms < 5_400_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}

/** Say how long ago a moment (milliseconds since 1970) was: `now`, `4 min ago`, `3 d ago`. */
export function ago(moment: number, now: number): string {
  const seconds = Math.max(0, (now - moment) / 1000);
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** Say a moment in full. */
export function moment(at: number): string {
  return clock.format(at);
}

/** `0.00042` → `$0.00042`; nothing spent is `$0`. */
export function money(value: number): string {
  if (value === 0) return "$0";
  return value < 0.01 ? `$${value.toPrecision(2)}` : `$${value.toFixed(2)}`;
}

/** Say lines: `line 4`, `lines 4–9`. */
export function lines(first: number, last: number): string {
  return first === last ? `line ${count(first)}` : `lines ${count(first)}–${count(last)}`;
}

/** Return a chunk's text without the heading it begins with, where that is shown beside it. */
export function withoutHeading(text: string, headings: string[]): string {
  const match = /^\s*#{1,6}\s+(.+?)\s*(?:\n|$)/.exec(text);
  return match && match[1] === headings.at(-1) && text.length > match[0].length
    ? text.slice(match[0].length).trimStart()
    : text;
}

/** Return what went wrong, without the client's envelope around it. */
export function reasonOf(error: unknown): string {
  if (error instanceof ConvexError) {
    const data: unknown = error.data;
    return typeof data === "string" ? data : JSON.stringify(data);
  }
  const message = error instanceof Error ? error.message : String(error);
  return (
    message
      .replace(/^\[CONVEX [^\]]*\]\s*(\[Request ID: [^\]]*\]\s*)?(Server Error\s*)?/, "")
      .replace(/\n\s*Called by client\s*$/, "")
      .trim() || "The server gave no reason."
  );
}

/** Return the words of a question that are worth marking in a text. */
export function wordsOf(question: string): string[] {
  return question.split(/[^\p{L}\p{N}_]+/u).filter((word) => word.length > 2 && !UNMARKED.has(word.toLowerCase()));
}

const UNMARKED = new Set(
  "the and for are was were that this with what which who how why when where does did can could from into its not you your has have had but they their there about than then them our out all any".split(
    " ",
  ),
);
