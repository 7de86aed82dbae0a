// ConvexClient: subscribe, mutate, act, errors with data, optimistic updates, pagination.
import { BaseConvexClient, ConvexClient, api, failure, report, until, url } from "./common.mjs";

const client = new ConvexClient(url);
const seen = {};
const name = "js";

// subscribe and mutate
const counted = until(client, api.lib.counters.valueOf, { name }, (value) => value === 3);
for (let i = 0; i < 3; i++) await client.mutation(api.lib.counters.addOne, { name });
seen.values = await counted;
seen.query = await client.query(api.lib.counters.valueOf, { name });

// a mutation's promise resolves after the callbacks of what it changed
let latest;
client.onUpdate(api.lib.counters.valueOf, { name }, (value) => (latest = value));
seen.result = await client.mutation(api.lib.counters.addOne, { name });
seen.latest = latest;

// act
seen.action = await client.action(api.messages.announce, { author: "js", body: "hello" });
seen.listed = (await client.query(api.messages.listing, { author: "js" })).map(({ body }) => body);

// values
const value = { big: 5n, bytes: new Uint8Array([1, 2]).buffer, minus: -0, none: null, text: "ä" };
const echoed = await client.query(api.extra.echo, { value });
seen.echoed = [echoed.big === 5n, new Uint8Array(echoed.bytes).join(), Object.is(echoed.minus, -0), echoed.text];
// results that travel compressed, and in chunks
seen.sizes = [];
for (const size of [10, 6_000, 200_000, 2_000_000, 16_000_000]) {
  seen.sizes.push((await client.query(api.extra.large, { name: "none", size })).length - 2);
}
seen.default = await client.query("extra:default", {});

// errors
seen.mutationError = await failure(client.mutation(api.messages.refuse, { data: { code: 7 } }));
seen.nullError = await failure(client.mutation(api.messages.refuse, { data: null }));
seen.actionError = await failure(client.action(api.messages.refuse_action, { data: "no" }));
seen.crash = await failure(client.mutation(api.messages.crash, {}));
seen.missing = await failure(client.query(api.messages.secret, {}));
seen.badArguments = await failure(client.mutation(api.lib.counters.addOne, { nam: 1 }));
seen.queryError = await new Promise((resolve) => {
  client.onUpdate(api.messages.failing, { author: "js" }, () => {}, (error) => resolve({ data: error.data }));
});

// optimistic updates, on the client below
const base = new BaseConvexClient(url, () => {});
const changes = [];
const { queryToken } = base.subscribe("lib/counters:valueOf", { name });
const now = () => base.localQueryResultByToken?.(queryToken) ?? base.localQueryResult("lib/counters:valueOf", { name });
while (now() === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
const pending = base.mutation("lib/counters:addOne", { name }, {
  optimisticUpdate: (store) => {
    const value = store.getQuery(api.lib.counters.valueOf, { name });
    if (value !== undefined) store.setQuery(api.lib.counters.valueOf, { name }, value + 1000);
  },
});
changes.push(now());
await pending;
changes.push(now());
const refused = base.mutation("messages:refuse", { data: 1 }, {
  optimisticUpdate: (store) => store.setQuery(api.lib.counters.valueOf, { name }, -1),
});
changes.push(now());
await failure(refused);
changes.push(now());
seen.optimistic = changes;
await base.close();
await client.close();
report(seen);
