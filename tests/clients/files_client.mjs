// Uploading and downloading files the way applications with the official client do it.
import { ConvexClient, ConvexHttpClient, api, report, url, until } from "./common.mjs";

const client = new ConvexClient(url);
const bytes = new Uint8Array(300_000).map((_, at) => at % 251);
const seen = {};

async function upload(post) {
  const uploadUrl = await client.mutation(api.files.generateUploadUrl, {});
  const result = await fetch(uploadUrl, { method: "POST", ...post });
  return result.ok ? (await result.json()).storageId : { status: result.status, ...(await result.json()) };
}

const image = new Blob([bytes], { type: "image/png" });
const storageId = await upload({ headers: { "Content-Type": image.type }, body: image });
await client.mutation(api.files.send, { storageId, text: "an image" });
const [post] = (await until(client, api.files.posts, {}, (posts) => posts.length === 1)).at(-1);
seen.text = post.text;

const found = await fetch(post.url);
const body = await found.blob();
seen.type = body.type;
seen.same = Buffer.compare(Buffer.from(await body.arrayBuffer()), Buffer.from(bytes)) === 0;
const part = await fetch(post.url, { headers: { Range: "bytes=250-259" } });
seen.part = [part.status, ...new Uint8Array(await part.arrayBuffer())];

const { _creationTime, _id, ...row } = await client.query(api.files.metadata, { file: storageId });
seen.row = { ...row, id: _id === storageId };

const digest = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("base64");
seen.digest = digest === row.sha256;
const checked = await upload({ headers: { Digest: `sha-256=${digest}` }, body: image.stream(), duplex: "half" }).catch(String);
seen.checked = typeof checked;
seen.wrong = await upload({ headers: { Digest: `sha-256=${digest}` }, body: new Blob(["other"]) });

const http = new ConvexHttpClient(url);
const gone = until(client, api.files.posts, {}, (posts) => posts[0].url === null);
await http.mutation(api.files.delete, { file: storageId });
await gone;
const missing = await fetch(post.url);
seen.missing = { status: missing.status, code: (await missing.json()).code };
await client.close();
report(seen);
