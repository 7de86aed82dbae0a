// One list by both hooks of the official React client, and a record of everything that was ever shown.
import { usePaginatedQuery, usePaginatedQuery_experimental, useQuery } from "convex/react";
import { makeFunctionReference } from "convex/server";
import React, { useLayoutEffect, useState } from "react";

const version = makeFunctionReference("lists:version");
const page = makeFunctionReference("lists:page");

window.shown = []; // [number of the list's state, which hook, its items, its status]

function List({ size }) {
  const number = useQuery(version, {});
  const hooks = [
    usePaginatedQuery(page, { hook: 0 }, { initialNumItems: size }),
    usePaginatedQuery_experimental(page, { hook: 1 }, { initialNumItems: size }),
  ];
  useLayoutEffect(() => {
    hooks.forEach((hook, which) => window.shown.push([number, which, hook.results, hook.status]));
    window.lists = { number, hooks };
  });
  return hooks.map((hook, which) => <output key={which}>{hook.results.length}</output>);
}

export function Lists() {
  const [start, setStart] = useState({ size: 3, key: 0 });
  window.startAnew = (size) => setStart(({ key }) => ({ size, key: key + 1 }));
  return <List key={start.key} size={start.size} />;
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Asks for more and starts anew at moments that a seed decides, until `stop` is set.
window.play = async (seed) => {
  window.stop = false;
  const chance = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  window.startAnew(1 + Math.floor(chance() * 6));
  while (!window.stop) {
    await sleep(chance() * 40);
    if (chance() < 0.03) window.startAnew(1 + Math.floor(chance() * 6));
    else window.lists.hooks[chance() < 0.5 ? 0 : 1].loadMore(1 + Math.floor(chance() * 8));
  }
};

// Loads the rest of both lists in their state of that number.
window.finish = async (number) => {
  while (window.lists.number !== number || window.lists.hooks.some(({ status }) => status !== "Exhausted")) {
    window.lists.hooks.forEach(({ status, loadMore }) => status === "CanLoadMore" && loadMore(20));
    await sleep(5);
  }
  await sleep(50); // whatever else is still on its way
};
