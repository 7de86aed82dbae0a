import assert from "node:assert/strict";
import { test } from "node:test";
import { chunkText } from "../src/lib/chunking.ts";

const sentence = (n: number) => `Sentence number ${n} says something about the river and its banks.`;
const paragraph = (n: number, length: number) =>
  Array.from({ length }, (_, i) => sentence(n * 100 + i)).join(" ");

/** What must hold of every cut, whatever the text. */
function checkChunks(text: string, sizes = { most: 800, overlap: 120 }) {
  const chunks = chunkText(text, sizes);
  const lines = text.split("\n");
  let reached = 0;
  for (const chunk of chunks) {
    assert.ok(chunk.text.length <= sizes.most, `${chunk.text.length} characters`);
    assert.equal(chunk.text, chunk.text.trim());
    const there = lines.slice(chunk.lines.from - 1, chunk.lines.to).join("\n");
    assert.ok(there.includes(chunk.text), `lines ${chunk.lines.from}-${chunk.lines.to} hold the chunk`);
    const start = text.indexOf(chunk.text, Math.max(0, reached - sizes.most));
    assert.equal(text.slice(reached, Math.max(reached, start)).trim(), "", "nothing is left out between two chunks");
    assert.ok(start + chunk.text.length > reached, "each chunk brings something new");
    reached = start + chunk.text.length;
  }
  assert.equal(text.slice(reached).trim(), "", "nothing is left out at the end");
  return chunks;
}

test("a short text is one chunk with its lines", () => {
  assert.deepEqual(checkChunks("\nhello\nworld\n"), [{ text: "hello\nworld", lines: { from: 2, to: 3 } }]);
});

test("blank text has no chunks", () => {
  assert.deepEqual(chunkText(" \n\n\t"), []);
});

test("paragraphs stay together while they fit, and are cut between", () => {
  const text = [paragraph(1, 7), paragraph(2, 7), paragraph(3, 7)].join("\n\n");
  const chunks = checkChunks(text);
  assert.equal(chunks.length, 3);
  assert.deepEqual(chunks.map((chunk) => chunk.lines.to), [1, 3, 5]);
});

test("a long paragraph is cut at sentences, and neighbours overlap", () => {
  const chunks = checkChunks(paragraph(1, 40));
  assert.ok(chunks.length > 3);
  for (const [index, chunk] of chunks.slice(1).entries()) {
    const before = chunks[index]!.text;
    const repeated = chunk.text.slice(0, sentence(100).length);
    assert.ok(before.includes(repeated), "the first sentence stands at the end of the chunk before");
  }
});

test("a word longer than a chunk is cut all the same", () => {
  const word = Array.from({ length: 700 }, (_, i) => i).join("");
  assert.equal(checkChunks(word).length, Math.ceil(word.length / 800));
});

test("lines are true with Windows line ends and indented code", () => {
  const text = Array.from({ length: 80 }, (_, i) => `    line_${i} = call(${i})`).join("\r\n");
  const chunks = checkChunks(text.replaceAll("\r\n", "\n"));
  assert.equal(chunks[0]!.lines.from, 1);
  assert.equal(chunks.at(-1)!.lines.to, 80);
  const windows = chunkText(text);
  assert.equal(windows.at(-1)!.lines.to, 80);
});

test("random texts keep every rule", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  const alphabet = ["a", "b", " ", " ", ". ", "\n", "\n\n", "word ", "question? "];
  for (let round = 0; round < 200; round += 1) {
    const text = Array.from({ length: random(600) }, () => alphabet[random(alphabet.length)]).join("");
    const chunks = chunkText(text, { most: 60, overlap: 15 });
    assert.equal(chunks.length === 0, text.trim() === "");
    let line = 1;
    for (const chunk of chunks) {
      assert.ok(chunk.text.length <= 60 && chunk.text.trim() !== "");
      assert.ok(chunk.lines.from >= line - 60 && chunk.lines.to >= chunk.lines.from);
      assert.ok(text.split("\n").slice(chunk.lines.from - 1, chunk.lines.to).join("\n").includes(chunk.text));
      line = chunk.lines.from;
    }
    const kept = chunks.map((chunk) => chunk.text).join(" ");
    for (const word of text.split(/\s+/)) assert.ok(word.length > 60 || kept.includes(word), `"${word}" is kept`);
  }
});
