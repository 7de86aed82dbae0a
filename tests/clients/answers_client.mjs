// Watchers of one answer with the official client: the same text for all, also for one that is cut off midway.
import { ConvexClient, api, report, url } from "./common.mjs";

const [proxied, watchers] = [process.argv[3], Number(process.argv[4])];
const answers = api["docs/answers"];

// Follows an answer as a page would: the next page as soon as one is full. Resolves with all texts that were seen.
function follow(client, answer) {
  const [pages, seen, sizes] = [[], [], []];
  let state = "waiting";
  return new Promise((resolve, reject) => {
    const show = () => {
      const text = pages.flatMap((page) => page?.blocks ?? []).flatMap((block) => block.spans).map((span) => span.text);
      const joined = text.join("");
      if (joined !== seen.at(-1)) seen.push(joined);
      // The callbacks of one transition come one after another: only behind the last of them all is of one moment.
      setTimeout(() => {
        const whole = pages.length > 0 && pages.every(Boolean) && !pages.at(-1).full;
        if (whole && ["done", "failed", "stopped"].includes(state)) resolve({ seen, sizes, state });
      }, 0);
    };
    const open = (page) => {
      pages[page] = null;
      sizes[page] = [];
      client.onUpdate(
        answers.blocks,
        { answer, page },
        (value) => {
          pages[page] = value;
          sizes[page].push(value.blocks.length);
          if (value.full && pages.length === page + 1) open(page + 1);
          show();
        },
        reject,
      );
    };
    client.onUpdate(answers.get, { answer }, (value) => ((state = value.state), show()), reject);
    open(0);
  });
}

const clients = Array.from({ length: watchers }, () => new ConvexClient(url, { logger: false }));
const cut = new ConvexClient(proxied, { logger: false });
const answer = await clients[0].mutation(answers.ask, { question: "How is a directory tree copied?" });
const following = [...clients, cut].map((client) => follow(client, answer));

// Somebody who comes late sees all of it, too.
const late = new ConvexClient(url, { logger: false });
await new Promise((resolve) => {
  late.onUpdate(answers.blocks, { answer, page: 1 }, (page) => page.blocks.length > 0 && resolve());
});
following.push(follow(late, answer));

const found = await Promise.all(following);
const connections = cut.client.connectionState().connectionCount;
const view = await clients[0].query(answers.get, { answer });
await Promise.all([...clients, cut, late].map((client) => client.close()));
report({
  texts: found.map(({ seen }) => seen.at(-1)),
  grows: found.every(({ seen }) => seen.every((text, at) => at === 0 || text.startsWith(seen[at - 1]))),
  steps: found.map(({ seen }) => seen.length),
  firstPage: found[0].sizes[0],
  states: found.map(({ state }) => state),
  cited: view.cited,
  passages: view.passages.map(({ number, key, firstLine, lastLine, version }) => ({ number, key, firstLine, lastLine, version })),
  connections,
});
