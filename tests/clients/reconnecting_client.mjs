// ConvexClient through connections that break: every mutation counts exactly once.
import { ConvexClient, api, report, url } from "./common.mjs";

const [name, total] = [process.argv[3], Number(process.argv[4])];
const client = new ConvexClient(url, { logger: false });
let latest;
client.onUpdate(api.lib.counters.valueOf, { name }, (value) => (latest = value));
const results = [];
let sent = 0;
async function worker() {
  while (sent < total) {
    sent += 1;
    results.push(await client.mutation(api.lib.counters.addOne, { name }));
  }
}
await Promise.all(Array.from({ length: 5 }, worker));
while (latest !== total) await new Promise((resolve) => setTimeout(resolve, 5));
const retries = client.client.connectionState().connectionCount;
await client.close();
report({ results, latest, retries });
