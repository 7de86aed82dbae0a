// A source's text as lines, each cut where chunks begin and end.
import type { Block, Chunk } from "../../api/sources.ts";

/** A stretch of a line; `chunks` are the places of those that cover it (two where they overlap). */
export type Stretch = { text: string; chunks: number[] };

export type Line = { number: number; stretches: Stretch[] };

type Range = { start: number; end: number; at: number };

const LINE_END = /\r\n|\r|\n/g;

/** Return the lines of the text that begins with the first block, with the chunks that cover each stretch. */
export function linesOf(blocks: Block[], chunks: Chunk[]): Line[] {
  const first = blocks[0];
  if (!first) return [];
  const text = blocks.map((block) => block.text).join("");
  const ranges = rangesOf(text, first.start, chunks);
  const lines: Line[] = [];
  let start = 0;
  let number = first.firstLine;
  let open = 0;
  const take = (end: number) => {
    while (open < ranges.length && ranges[open]!.end <= start) open += 1;
    lines.push({ number, stretches: stretchesOf(text, start, end, ranges, open) });
    number += 1;
  };
  for (const match of text.matchAll(LINE_END)) {
    take(match.index);
    start = match.index + match[0].length;
  }
  if (start < text.length) take(text.length);
  return lines;
}

function stretchesOf(text: string, start: number, end: number, ranges: Range[], open: number): Stretch[] {
  const here: Range[] = [];
  for (let index = open; index < ranges.length && ranges[index]!.start < Math.max(end, start + 1); index += 1) {
    if (ranges[index]!.end > start) here.push(ranges[index]!);
  }
  const cuts = new Set([start, end]);
  for (const range of here) {
    if (range.start > start) cuts.add(Math.min(range.start, end));
    if (range.end < end) cuts.add(range.end);
  }
  const borders = [...cuts].sort((a, b) => a - b);
  // An empty line between two parts of a chunk belongs to it, too.
  if (borders.length === 1)
    return [{ text: "", chunks: here.filter((range) => range.start <= start).map((range) => range.at) }];
  return borders.slice(0, -1).map((from, index) => {
    const to = borders[index + 1]!;
    return {
      text: text.slice(from, to),
      chunks: here.filter((range) => range.start <= from && range.end >= to).map((range) => range.at),
    };
  });
}

/** Where chunks are in a text whose first character is at `offset`, counted as JavaScript does. */
function rangesOf(text: string, offset: number, chunks: Chunk[]): Range[] {
  const placeOf = placesOf(text);
  const ranges: Range[] = [];
  chunks.forEach((chunk, at) => {
    if (chunk.start == null || chunk.end == null) return;
    ranges.push({ start: placeOf(chunk.start - offset), end: placeOf(chunk.end - offset), at });
  });
  return ranges.sort((a, b) => a.start - b.start);
}

/** The server counts characters, JavaScript counts twice what is beyond 16 bits: return how one becomes the other. */
function placesOf(text: string): (characters: number) => number {
  if (!/[\ud800-\udbff]/.test(text)) return (characters) => characters;
  const places = [0];
  for (const character of text) places.push(places.at(-1)! + character.length);
  return (characters) => places[Math.min(Math.max(0, characters), places.length - 1)]!;
}

/** Return the first and last line that `12-18` or `12` names. */
export function readLines(text: string | null): { first: number; last: number } | null {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text ?? "");
  if (!match) return null;
  const first = Number(match[1]);
  return { first, last: Number(match[2] ?? first) };
}
