// ConvexHttpClient: query, mutate, act, errors with data, consistentQuery.
import { ConvexHttpClient, api, failure, report, url } from "./common.mjs";

const client = new ConvexHttpClient(url);
const seen = {};
const name = "http";
seen.first = await client.mutation(api.lib.counters.addOne, { name });
seen.query = await client.query(api.lib.counters.valueOf, { name });
seen.action = await client.action(api.messages.announce, { author: "http", body: "hi" });
seen.consistent = [await client.consistentQuery(api.lib.counters.valueOf, { name })];
await client.mutation(api.lib.counters.addOne, { name });
seen.consistent.push(await client.consistentQuery(api.lib.counters.valueOf, { name }));
seen.fresh = await client.query(api.lib.counters.valueOf, { name });
seen.big = (await client.query(api.extra.echo, { value: 5n })) === 5n;
seen.error = await failure(client.mutation(api.messages.refuse, { data: { code: 7 } }));
seen.crash = await failure(client.mutation(api.messages.crash, {}));
seen.missing = await failure(client.query(api.messages.secret, {}));
client.setAuth("a.b.c");
seen.token = await failure(client.query(api.lib.counters.valueOf, { name }));
report(seen);
