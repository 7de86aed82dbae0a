import assert from "node:assert/strict";
import { test } from "node:test";
import type { Block, Chunk } from "../src/api/sources.ts";
import { linesOf, readLines } from "../src/screens/source/layout.ts";

const block = (text: string, start = 0, firstLine = 1): Block => ({ number: 0, start, firstLine, text });

const chunk = (start: number, end: number): Chunk => ({
  id: String(start),
  source: "s",
  version: 1,
  number: 0,
  text: "",
  firstLine: 1,
  lastLine: 1,
  start,
  end,
  headings: [],
  kind: "text",
  embedded: true,
});

test("each line is cut where chunks begin and end, and overlaps belong to both", () => {
  const lines = linesOf([block("one two\nthree\n\nfour")], [chunk(0, 10), chunk(4, 19)]);
  assert.deepEqual(
    lines.map((line) => line.stretches),
    [
      [
        { text: "one ", chunks: [0] },
        { text: "two", chunks: [0, 1] },
      ],
      [
        { text: "th", chunks: [0, 1] },
        { text: "ree", chunks: [1] },
      ],
      [{ text: "", chunks: [1] }],
      [{ text: "four", chunks: [1] }],
    ],
  );
});

test("text outside of all chunks is there, too", () => {
  const [line] = linesOf([block("abcdef")], [chunk(2, 4)]);
  assert.deepEqual(line?.stretches, [
    { text: "ab", chunks: [] },
    { text: "cd", chunks: [0] },
    { text: "ef", chunks: [] },
  ]);
});

test("lines end as editors end them, also between two blocks", () => {
  const lines = linesOf([block("a\r\nb\rc\n", 100, 7), block("d", 107, 10)], []);
  assert.deepEqual(
    lines.map((line) => [line.number, line.stretches[0]?.text]),
    [
      [7, "a"],
      [8, "b"],
      [9, "c"],
      [10, "d"],
    ],
  );
});

test("characters beyond 16 bits count once, as on the server", () => {
  const [line] = linesOf([block("🐝🐝 bees")], [chunk(3, 7)]);
  assert.deepEqual(line?.stretches, [
    { text: "🐝🐝 ", chunks: [] },
    { text: "bees", chunks: [0] },
  ]);
});

test("lines in an address are one or a range", () => {
  assert.deepEqual(readLines("12-18"), { first: 12, last: 18 });
  assert.deepEqual(readLines("12"), { first: 12, last: 12 });
  assert.equal(readLines("x"), null);
  assert.equal(readLines(null), null);
});
