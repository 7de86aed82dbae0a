import assert from "node:assert/strict";
import { test } from "node:test";
import { optionsOf, unusual, USUAL, type Wishes, wishesOf } from "../src/screens/search/filters.ts";

test("what is usual is not said", () => {
  assert.deepEqual(optionsOf(USUAL), {});
  assert.equal(unusual(USUAL), 0);
});

test("all that can be wished for comes back from the options of a search", () => {
  const wishes: Wishes = {
    weight: 0.5,
    method: "rrf",
    limit: 25,
    minLength: 200,
    around: 2,
    category: "sea",
    kinds: ["pdf", "code"],
    sources: ["s1"],
    transform: "rewrite",
    rerank: true,
    narrow: 3,
    further: '{"page":{"$gt":4}}',
  };
  assert.deepEqual(wishesOf(optionsOf(wishes)), wishes);
  assert.equal(unusual(wishes), 12);
});

test("a filter of one condition stands alone, several are joined", () => {
  assert.equal(optionsOf({ ...USUAL, category: "sea" }).filter, '{"category":{"$eq":"sea"}}');
  assert.equal(
    optionsOf({ ...USUAL, category: "sea", kinds: ["pdf"] }).filter,
    '{"$and":[{"category":{"$eq":"sea"}},{"kind":{"$in":["pdf"]}}]}',
  );
});

test("a filter that is no JSON goes to the server as it is, and comes back", () => {
  const options = optionsOf({ ...USUAL, further: "{nonsense" });
  assert.equal(options.filter, "{nonsense");
  assert.equal(wishesOf(options).further, "{nonsense");
});
