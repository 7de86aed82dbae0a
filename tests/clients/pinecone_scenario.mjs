// Every call of the official npm client, in any of its versions, against one server.
// node pinecone_scenario.mjs PACKAGE URL KEY prints the names of the steps it has gone, as JSON.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [name_, url, key] = process.argv.slice(2);
const require = createRequire(`${process.env.CLIENT_MODULES}/x.js`);
const { Pinecone } = require(name_);
const major = Number(name_.split("-")[1]);

const MODEL = "local/minilm-l6-v2";
const spec = { serverless: { cloud: "aws", region: "us-east-1" } };
const name = `scenario-js-${major}`;
const ones = [1, 1, 1, 1];
const pc = new Pinecone({ apiKey: key, controllerHostUrl: url });
let index;

const ids = (result) => result.matches.map((match) => match.id);
const scores = (result) => result.matches.map((match) => Number(match.score.toFixed(5)));
const near = (found, wanted) =>
  assert.ok(found.length === wanted.length && found.every((value, n) => Math.abs(value - wanted[n]) < 1e-6), `${found}`);

const CLASSES = {
  400: "PineconeBadRequestError",
  401: "PineconeAuthorizationError",
  403: "PineconeBadRequestError",
  404: "PineconeNotFoundError",
  409: "PineconeConflictError",
};

async function refused(promise, status, words = "") {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, CLASSES[status], `${error.name}: ${error.message}`);
    if (status !== 404) assert.ok(error.message.includes(words), error.message); // 404: it has a text of its own
    return true;
  });
}

// By the server, or by the client before that.
async function rejected(start) {
  await assert.rejects(async () => start(), (error) => {
    assert.ok(["PineconeArgumentError", "PineconeBadRequestError"].includes(error.name), `${error.name}: ${error.message}`);
    return true;
  });
}

const steps = {
  async controlPlane() {
    await pc.createIndex({ name, dimension: 4, metric: "cosine", spec, tags: { team: "search" }, waitUntilReady: true });
    const found = await pc.describeIndex(name);
    assert.deepEqual([found.name, found.dimension, found.metric], [name, 4, "cosine"]);
    assert.ok(found.host.startsWith("http://"), found.host);
    assert.equal(found.status.ready, true);
    assert.equal(found.deletionProtection, "disabled");
    assert.deepEqual({ ...found.tags }, { team: "search" });
    assert.ok((await pc.listIndexes()).indexes.some((other) => other.name === name));
    await pc.configureIndex({ name, tags: { team: "", stage: "test" }, deletionProtection: "enabled" });
    assert.deepEqual({ ...(await pc.describeIndex(name)).tags }, { stage: "test" });
    await refused(pc.deleteIndex(name), 403, "protection");
    await refused(pc.createIndex({ name, dimension: 4, metric: "cosine", spec }), 409);
    await pc.createIndex({ name, dimension: 4, metric: "cosine", spec, suppressConflicts: true });
    await refused(pc.createIndex({ name: "Bad_Name", dimension: 4, metric: "cosine", spec }), 400);
    await refused(pc.describeIndex("missing"), 404);
    await refused(pc.deleteIndex("missing"), 404);
    assert.deepEqual((await pc.listCollections()).collections, []);
    assert.deepEqual((await pc.listBackups()).data, []);
    assert.deepEqual((await pc.listRestoreJobs()).data, []);
    await rejected(() => pc.createCollection({ name: "copy", source: name }));
  },

  async newShape() {
    if (major < 9) return;
    const schema = { fields: { _values: { type: "dense_vector", dimension: 3, metric: "dotproduct" } } };
    const deployment = { deploymentType: "managed", cloud: "gcp", region: "europe-west1" };
    await pc.createIndex({ name: `${name}-schema`, schema, deployment });
    const found = await pc.describeIndex(`${name}-schema`);
    assert.equal(found.schema.fields._values.dimension, 3);
    assert.equal(found.deployment.region, "europe-west1");
    const fields = { text: { type: "string", fullTextSearch: {} } };
    await refused(pc.createIndex({ name: "documents", schema: { fields } }), 400, "schema");
    const documents = pc.index({ name: `${name}-schema` });
    await refused(documents.upsertDocuments({ namespace: "n", documents: [{ _id: "1", _values: [1, 1, 1] }] }), 400);
    await pc.deleteIndex(`${name}-schema`);
  },

  async writing() {
    index = pc.index({ name });
    await index.upsert({
      records: [
        { id: "a", values: [1, 0, 0, 0], metadata: { kind: "note", year: 2020 } },
        { id: "b", values: [0, 1, 0, 0], metadata: { kind: "book", tags: ["x", "y"] } },
        { id: "c", values: [0.5, 0.5, 0, 0], metadata: { kind: "note", year: 2024, pinned: true } },
        { id: "d", values: [0, 0, 1, 0] },
      ],
    });
    const many = Array.from({ length: 230 }, (_, n) => ({
      id: `doc${String(n).padStart(3, "0")}#1`,
      values: [1, n / 100, 0, 1],
    }));
    await index.namespace("many").upsert({ records: many });
    await index.upsert({ records: [{ id: "d", values: [0, 0, 0, 1] }] });
    near((await index.fetch({ ids: ["d"] })).records.d.values, [0, 0, 0, 1]);
  },

  async querying() {
    let found = await index.query({ vector: [1, 0, 0, 0], topK: 3, includeMetadata: true });
    assert.deepEqual(ids(found).slice(0, 2), ["a", "c"]);
    assert.deepEqual(scores(found).slice(0, 2), [1, 0.70711]);
    assert.deepEqual(found.matches[0].metadata, { kind: "note", year: 2020 });
    found = await index.query({ id: "b", topK: 1, includeValues: true });
    assert.deepEqual(ids(found), ["b"]);
    near(found.matches[0].values, [0, 1, 0, 0]);
    assert.deepEqual(ids(await index.namespace("nowhere").query({ vector: ones, topK: 5 })), []);
    assert.equal((await index.namespace("many").query({ vector: ones, topK: 1000 })).matches.length, 230);
  },

  async filters() {
    const cases = [
      [{ kind: "note" }, ["a", "c"]],
      [{ kind: { $ne: "note" } }, ["b"]],
      [{ year: { $gte: 2020, $lt: 2024 } }, ["a"]],
      [{ kind: { $in: ["note", "book"] } }, ["a", "b", "c"]],
      [{ kind: { $nin: ["book"] } }, ["a", "c"]],
      [{ tags: "x" }, ["b"]],
      [{ pinned: true }, ["c"]],
      [{ year: { $exists: true } }, ["a", "c"]],
      [{ $and: [{ kind: "note" }, { year: { $lt: 2021 } }] }, ["a"]],
      [{ $or: [{ kind: "book" }, { year: 2024 }] }, ["b", "c"]],
    ];
    for (const [filter, wanted] of cases) {
      assert.deepEqual(ids(await index.query({ vector: ones, topK: 10, filter })).sort(), wanted, JSON.stringify(filter));
    }
  },

  async fetching() {
    const found = await index.fetch({ ids: ["a", "c", "nobody"] });
    assert.deepEqual(Object.keys(found.records).sort(), ["a", "c"]);
    assert.deepEqual(found.records.c.metadata, { kind: "note", year: 2024, pinned: true });
    const first = await index.fetchByMetadata({ filter: { kind: "note" }, limit: 1 });
    const paginationToken = first.pagination.next;
    const rest = await index.fetchByMetadata({ filter: { kind: "note" }, limit: 1, paginationToken });
    assert.deepEqual([...Object.keys(first.records), ...Object.keys(rest.records)].sort(), ["a", "c"]);
    const seen = [];
    let page = await index.namespace("many").listPaginated({ prefix: "doc" });
    for (;;) {
      seen.push(...page.vectors.map((vector) => vector.id));
      if (page.pagination === undefined) break;
      page = await index.namespace("many").listPaginated({ prefix: "doc", paginationToken: page.pagination.next });
    }
    assert.equal(seen.length, 230);
    assert.deepEqual(seen, [...seen].sort());
    page = await index.namespace("many").listPaginated({ prefix: "doc02", limit: 5 });
    assert.deepEqual(page.vectors.map((vector) => vector.id), [0, 1, 2, 3, 4].map((n) => `doc02${n}#1`));
  },

  async updating() {
    await index.update({ id: "a", values: [0, 0, 2, 0] });
    await index.update({ id: "a", metadata: { year: 2021, new: "yes" } });
    const found = (await index.fetch({ ids: ["a"] })).records.a;
    near(found.values, [0, 0, 2, 0]);
    assert.deepEqual(found.metadata, { kind: "note", year: 2021, new: "yes" });
    await index.update({ filter: { kind: "note" }, metadata: { seen: true } });
    assert.equal((await index.fetch({ ids: ["c"] })).records.c.metadata.seen, true);
  },

  async deleting() {
    await index.deleteOne({ id: "d" });
    await index.deleteMany({ ids: ["nobody"] });
    assert.deepEqual((await index.fetch({ ids: ["d"] })).records, {});
    await index.deleteMany({ filter: { kind: "book" } });
    assert.deepEqual((await index.fetch({ ids: ["b"] })).records, {});
    const gone = index.namespace("soon gone");
    await gone.upsert({ records: [{ id: "x", values: ones }] });
    await gone.deleteAll();
    assert.deepEqual(ids(await gone.query({ vector: ones, topK: 5 })), []);
    await refused(index.namespace("nowhere").deleteAll(), 404);
    await refused(index.namespace("nowhere").deleteOne({ id: "a" }), 404);
  },

  async numbers() {
    const stats = await index.describeIndexStats();
    assert.equal(stats.dimension, 4);
    assert.equal(stats.namespaces.many.recordCount, 230);
    assert.equal(stats.namespaces.__default__.recordCount, 2);
    assert.equal(stats.totalRecordCount, 232);
    assert.equal(Number((await index.describeNamespace("many")).recordCount), 230);
    assert.ok((await index.listNamespaces()).namespaces.some((found) => found.name === "many"));
    const page = await index.listNamespaces({ limit: 1 });
    assert.ok(page.pagination.next);
    assert.equal((await index.createNamespace({ name: "made" })).name, "made");
    await refused(index.createNamespace({ name: "made" }), 409);
    await index.deleteNamespace("many");
    await refused(index.describeNamespace("many"), 404);
    await refused(index.deleteNamespace("many"), 404);
  },

  async sparse() {
    await pc.createIndex({ name: `${name}-sparse`, vectorType: "sparse", metric: "dotproduct", spec });
    const other = pc.index({ name: `${name}-sparse` });
    await other.upsert({
      records: [
        { id: "one", sparseValues: { indices: [1, 5], values: [1, 2] } },
        { id: "two", sparseValues: { indices: [4294967295], values: [3] } },
      ],
    });
    const sparseVector = { indices: [5, 9], values: [0.5, 1] };
    const found = await other.query({ sparseVector, topK: 5 });
    assert.deepEqual([ids(found), scores(found)], [["one"], [1]]);
    assert.deepEqual((await other.fetch({ ids: ["two"] })).records.two.sparseValues.indices, [4294967295]);
    await pc.deleteIndex(`${name}-sparse`);
  },

  async hybrid() {
    await pc.createIndex({ name: `${name}-hybrid`, dimension: 2, metric: "dotproduct", spec });
    const other = pc.index({ name: `${name}-hybrid` });
    const sparseValues = { indices: [7], values: [10] };
    await other.upsert({
      records: [
        { id: "both", values: [1, 0], sparseValues },
        { id: "dense", values: [3, 0] },
      ],
    });
    assert.deepEqual(ids(await other.query({ vector: [1, 0], topK: 2 })), ["dense", "both"]);
    const found = await other.query({ vector: [1, 0], sparseVector: sparseValues, topK: 2 });
    assert.deepEqual([ids(found), scores(found)], [["both", "dense"], [101, 3]]);
    await pc.deleteIndex(`${name}-hybrid`);
  },

  async integrated() {
    const embed = { model: MODEL, fieldMap: { text: "chunk_text" } };
    await pc.createIndexForModel({ name: `${name}-texts`, cloud: "aws", region: "us-east-1", embed });
    assert.equal((await pc.describeIndex(`${name}-texts`)).embed.model, MODEL);
    const texts = pc.index({ name: `${name}-texts`, namespace: "texts" });
    await texts.upsertRecords({
      records: [
        { _id: "1", chunk_text: "Apples are a sweet fruit that grows on trees.", group: "fruit" },
        { _id: "2", chunk_text: "The company released a new telephone.", group: "business" },
        { id: "3", chunk_text: "Bananas are yellow and rich in potassium.", group: "fruit" },
      ],
    });
    const query = { topK: 2, inputs: { text: "which fruit is yellow?" } };
    const found = await texts.searchRecords({ query });
    assert.equal(found.result.hits[0]._id, "3");
    assert.equal(found.result.hits[0].fields.group, "fruit");
    const some = await texts.searchRecords({ query: { ...query, filter: { group: "fruit" } }, fields: ["group"] });
    assert.deepEqual(some.result.hits.map((hit) => hit.fields), [{ group: "fruit" }, { group: "fruit" }]);
    const rerank = { model: "bge-reranker-v2-m3", rankFields: ["chunk_text"] };
    await refused(texts.searchRecords({ query, rerank }), 400, "rerank");
    await refused(texts.upsertRecords({ records: [{ id: "4", other: "x" }] }), 400, "chunk_text");
    await refused(index.searchRecords({ query }), 400, "embedder");
    const wrong = { name: "other", cloud: "aws", region: "us-east-1", embed: { ...embed, model: "nothing" } };
    await refused(pc.createIndexForModel(wrong), 400, MODEL);
    await pc.deleteIndex(`${name}-texts`);
  },

  async inference() {
    assert.deepEqual((await pc.inference.listModels()).models.map((model) => model.model), [MODEL]);
    assert.equal((await pc.inference.getModel(MODEL)).defaultDimension, 384);
    const told = await pc.inference.embed({ model: MODEL, inputs: ["apple", "banana"], parameters: { inputType: "query" } });
    assert.deepEqual(told.data.map((one) => one.values.length), [384, 384]);
    await refused(pc.inference.embed({ model: "nothing", inputs: ["x"], parameters: {} }), 400, MODEL);
    await refused(pc.inference.rerank({ model: "bge-reranker-v2-m3", query: "q", documents: ["d"] }), 400, "rerank");
  },

  async mistakes() {
    const bad = (record) => index.upsert({ records: [{ id: "good", values: ones }, record] });
    await refused(bad({ id: "short", values: [1, 1] }), 400, "dimension");
    await rejected(() => bad({ id: "nan", values: [1, 1, 1, NaN] }));
    await refused(bad({ id: "zero", values: [0, 0, 0, 0] }), 400, "non-zero");
    await refused(bad({ id: "nested", values: ones, metadata: { a: { b: 1 } } }), 400);
    await refused(bad({ id: "big", values: ones, metadata: { text: "x".repeat(41000) } }), 400);
    await refused(bad({ id: "x".repeat(513), values: ones }), 400);
    assert.deepEqual((await index.fetch({ ids: ["good"] })).records, {});
    await refused(index.query({ vector: [1], topK: 1 }), 400, "dimension");
    await rejected(() => index.query({ vector: ones, topK: 0 }));
    await rejected(() => index.query({ vector: ones, topK: 10001 }));
    await refused(index.query({ vector: ones, topK: 1, filter: { a: { $near: 1 } } }), 400);
    await refused(index.query({ vector: ones, topK: 1, filter: { a: { $gt: "x" } } }), 400);
    await refused(index.query({ vector: ones, topK: 1, filter: { $gt: 5 } }), 400);
    await rejected(() => index.startImport({ uri: "s3://bucket/folder" }));
    assert.deepEqual((await index.listImports()).data, []);
  },

  async strangers() {
    const other = new Pinecone({ apiKey: "wrong", controllerHostUrl: url });
    await refused(other.listIndexes(), 401);
    const { host } = await pc.describeIndex(name);
    await refused(other.index({ host }).query({ vector: ones, topK: 1 }), 401);
    const lost = pc.index({ host: host.replace(name, "missing") });
    await refused(lost.query({ vector: ones, topK: 1 }), 404);
    await refused(lost.upsert({ records: [{ id: "a", values: ones }] }), 404);
  },

  async deletingTheIndex() {
    await pc.configureIndex({ name, deletionProtection: "disabled" });
    await pc.deleteIndex(name);
    await refused(pc.describeIndex(name), 404);
  },
};

for (const [step, go] of Object.entries(steps)) {
  try {
    await go();
  } catch (error) {
    console.error(`${name_}: ${step}`);
    throw error;
  }
}
console.log(JSON.stringify(Object.keys(steps)));
