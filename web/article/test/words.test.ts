import assert from "node:assert/strict";
import { test } from "node:test";
import { ConvexError } from "convex/values";
import { hashOf, placeOf } from "../src/lib/location.ts";
import { duration, many, placeInFile, reasonOf, withoutName } from "../src/lib/words.ts";

test("numbers and nouns", () => {
  assert.equal(many(1, "chunk"), "1 chunk");
  assert.equal(many(1234, "chunk"), "1,234 chunks");
  assert.equal(duration(999), "999 ms");
  assert.equal(duration(4210), "4.2 s");
  assert.equal(duration(52_400), "52 s");
  assert.equal(duration(152_000), "3 min");
});

test("an error is told without the client's envelope", () => {
  const wrapped = "[CONVEX M(sources:add)] [Request ID: 8f] Server Error\nUncaught Error: too long\n  Called by client";
  assert.equal(reasonOf(new Error(wrapped)), "Uncaught Error: too long");
  assert.equal(reasonOf(new ConvexError("this chunk was deleted")), "this chunk was deleted");
  assert.equal(reasonOf(new ConvexError({ code: 3 })), '{"code":3}');
  assert.equal(reasonOf(new Error("")), "The server gave no reason.");
});

test("a chunk's place", () => {
  assert.equal(placeInFile("shutil.py", { from: 3, to: 9 }), "shutil.py:3–9");
  assert.equal(placeInFile(null, { from: 3, to: 3 }), "line 3");
  assert.equal(placeInFile(undefined, undefined), "");
});

test("a text says its name once", () => {
  assert.equal(withoutName("shutil.move", "shutil.move: Move a file."), "Move a file.");
  assert.equal(withoutName("shutil.move", "shutil.move\nmove(src, dst)"), "move(src, dst)");
  assert.equal(withoutName("shutil", "shutil.move: Move a file."), "shutil.move: Move a file.");
  assert.equal(withoutName("shutil.move", "shutil.move"), "shutil.move");
  assert.equal(withoutName(null, "text"), "text");
});

test("a place is read as it was written", () => {
  const place = { tab: "search", input: "a & b? #1 100%", chunk: "" } as const;
  assert.deepEqual(placeOf(hashOf(place)), place);
  assert.deepEqual(placeOf("#/compare?chunk=j57"), { tab: "compare", input: "", chunk: "j57" });
  assert.deepEqual(placeOf("#/nowhere"), { tab: "search", input: "", chunk: "" });
  assert.deepEqual(placeOf(""), { tab: "search", input: "", chunk: "" });
});
