// The official React client, unmodified: every hook once, against the server named in the address.
import { ConvexProvider, ConvexReactClient, useAction, useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { makeFunctionReference } from "convex/server";
import React, { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Lists } from "./lists.jsx";

const valueOf = makeFunctionReference("lib/counters:valueOf");
const addOne = makeFunctionReference("lib/counters:addOne");
const announce = makeFunctionReference("messages:announce");
const page = makeFunctionReference("messages:page");

window.seen = []; // every value of the counter that was shown

function App() {
  const value = useQuery(valueOf, { name: "react" });
  const add = useMutation(addOne).withOptimisticUpdate((store, { name }) => {
    const now = store.getQuery(valueOf, { name });
    if (now !== undefined) store.setQuery(valueOf, { name }, now + 1000);
  });
  const tell = useAction(announce);
  const [told, setTold] = useState(null);
  const messages = usePaginatedQuery(page, {}, { initialNumItems: 3 });
  useEffect(() => {
    if (value !== undefined) window.seen.push(value);
  }, [value]);
  return (
    <main>
      <output id="value">{value}</output>
      <button id="add" onClick={() => add({ name: "react" })}>add</button>
      <button id="tell" onClick={async () => setTold(await tell({ author: "react", body: "told" }))}>tell</button>
      <output id="told">{told}</output>
      <ul>{messages.results.map((message) => <li key={message._id}>{message.body}</li>)}</ul>
      <output id="status">{messages.status}</output>
      <button id="more" onClick={() => messages.loadMore(3)}>more</button>
    </main>
  );
}

const address = new URLSearchParams(location.search);
const client = new ConvexReactClient(address.get("server"));
const Shown = address.has("lists") ? Lists : App;
createRoot(document.getElementById("root")).render(<ConvexProvider client={client}><Shown /></ConvexProvider>);
