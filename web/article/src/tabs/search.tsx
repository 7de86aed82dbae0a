import { Alert, Button, Group, Kbd, Stack, Text, TextInput, Title } from "@mantine/core";
import { useAction, useMutation, useQuery } from "convex/react";
import { type FormEvent, type KeyboardEvent, type RefObject, useEffect, useState } from "react";
import { api, type ChunkRow, type SearchResults } from "../api.ts";
import { ChunkList, ChunkSkeleton } from "../components/chunks.tsx";
import { RetryIcon, SearchIcon } from "../components/icons.tsx";
import { Empty, Panel, Problem } from "../components/panel.tsx";
import { hashOf, usePlace } from "../lib/location.ts";
import { useStarted } from "../lib/started.ts";
import { useIsRemote } from "../lib/store.ts";
import { reasonOf } from "../lib/words.ts";
import { History } from "./history.tsx";

const RESULTS_PER_LIST = 10;
const BEST_SHOWN = 5;
const EXAMPLES = [
  "how do I copy a directory tree",
  "run a function in another process",
  "read a zip file without unpacking it",
  "wait for several tasks at once",
];
const UNMARKED = new Set("the and for from with into that this how does can are was what which when where not you".split(" "));

type SearchTabProps = { box: RefObject<HTMLInputElement | null> };

export function SearchTab({ box }: SearchTabProps) {
  const [place, go] = usePlace();
  const [repeats, setRepeats] = useState(0);
  const ask = (input: string) => (input === place.input ? setRepeats(repeats + 1) : go({ tab: "search", input }));
  return (
    <Stack gap="lg">
      <SearchBox box={box} input={place.input} onSearch={ask} />
      {place.input ? <Results key={`${repeats} ${place.input}`} input={place.input} /> : <Welcome />}
      <History current={place.input} />
    </Stack>
  );
}

type SearchBoxProps = { box: RefObject<HTMLInputElement | null>; input: string; onSearch: (input: string) => void };

function SearchBox({ box, input, onSearch }: SearchBoxProps) {
  const [text, setText] = useState(input);
  useEffect(() => setText(input), [input]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) onSearch(text.trim());
  };
  const leave = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // the browser would empty the box
    event.currentTarget.blur();
  };
  return (
    <form role="search" onSubmit={submit} className="search-box">
      <TextInput
        ref={box}
        type="search"
        size="lg"
        aria-label="Search"
        placeholder="Ask in your own words"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={leave}
        leftSection={<SearchIcon />}
        rightSection={<Kbd className="slash">/</Kbd>}
        autoFocus
        autoComplete="off"
      />
      <Button type="submit" size="lg" aria-label="Search" disabled={!text.trim()}>
        <span className="wide-only">Search</span>
        <span className="phone-only">
          <SearchIcon />
        </span>
      </Button>
    </form>
  );
}

function Welcome() {
  const isRemote = useIsRemote();
  return (
    <div className="welcome">
      <Title order={2} size="h3">
        Search by meaning and by words
      </Title>
      <Text c="dimmed" maw={560}>
        {isRemote
          ? "Words are searched live. Vectors are in a remote store: matches by meaning are found when you ask, and anew when you ask again."
          : "Results are live: they change while indexing goes on, and whenever a source is added or deleted."}{" "}
        Try one of these:
      </Text>
      <Group gap="xs" mt="md">
        {EXAMPLES.map((example) => (
          <Button
            key={example}
            component="a"
            href={hashOf({ tab: "search", input: example })}
            variant="default"
            radius="xl"
            size="sm"
          >
            {example}
          </Button>
        ))}
      </Group>
    </div>
  );
}

function Results({ input }: { input: string }) {
  const upsert = useMutation(api.searches.upsert);
  const search = useStarted(input, (text) => upsert({ input: text, count: RESULTS_PER_LIST }));
  if (search.error) {
    return (
      <Problem title="The search could not be started" error={search.error}>
        <Button size="xs" variant="light" color="red" onClick={search.again}>
          Try again
        </Button>
      </Problem>
    );
  }
  return <Panels input={input} searchId={search.id} />;
}

function Panels({ input, searchId }: { input: string; searchId: string | null }) {
  const isRemote = useIsRemote();
  return (
    <>
      <Panel title="Best matches" note="meaning and words together" aside={!isRemote && <LiveBadge />}>
        <Found input={input} searchId={searchId} list="hybrid" />
      </Panel>
      <div className="beside">
        <Panel title="By meaning" note={isRemote ? "nearest vectors, as of when it was asked" : "nearest vectors"}>
          <Found input={input} searchId={searchId} list="semantic" />
        </Panel>
        <Panel title="By words" note="full text" aside={isRemote && <LiveBadge />}>
          <Found input={input} searchId={searchId} list="words" />
        </Panel>
      </div>
    </>
  );
}

function LiveBadge() {
  return (
    <span className="live">
      <span className="dot" />
      live
    </span>
  );
}

type FoundProps = { input: string; searchId: string | null; list: "hybrid" | "semantic" | "words" };

/** One list of a search's results. Three of these share one subscription. */
function Found({ input, searchId, list }: FoundProps) {
  const results = useQuery(api.searches.results, searchId === null ? "skip" : { searchId });
  const rows = results?.[list] ?? [];
  const notice = list === "hybrid" && searchId && results && <Notice input={input} searchId={searchId} results={results} />;
  return (
    <>
      {notice}
      <Rows rows={rows} results={results ?? null} list={list} input={input} />
    </>
  );
}

type RowsProps = { rows: ChunkRow[]; results: SearchResults | null; list: FoundProps["list"]; input: string };

const LABELS = { hybrid: "Best matches", semantic: "Matches by meaning", words: "Matches by words" };

function Rows({ rows, results, list, input }: RowsProps) {
  if (rows.length > 0) {
    const shown = list === "hybrid" ? BEST_SHOWN : RESULTS_PER_LIST;
    return <ChunkList label={LABELS[list]} rows={rows} marked={wordsOf(input)} shown={shown} />;
  }
  if (results === null || (results.status === "pending" && list !== "words")) return <ChunkSkeleton />;
  if (results.status === "failed" && list !== "words") return <Empty title="No results: the search failed" />;
  if (list === "words") {
    return <Empty title="No chunk has these words">Fewer or simpler words find more; meaning needs no exact word.</Empty>;
  }
  return (
    <Empty title="Nothing is embedded yet">
      <WhatNext />
    </Empty>
  );
}

function WhatNext() {
  const when = useIsRemote() ? "Ask again as soon as" : "Results appear here by themselves as soon as";
  return (
    <>
      {when} the first chunks are. Or <a href="#/sources">add a source</a>.
    </>
  );
}

type NoticeProps = { input: string; searchId: string; results: SearchResults };

/** Says when a search failed or was embedded by another model, and offers to run it again. */
function Notice({ input, searchId, results }: NoticeProps) {
  const run = useAction(api.searches.run);
  const [isRunning, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const problem = error ?? (results.status === "failed" ? new Error(results.error ?? "") : null);
  const isStale = results.status === "ready" && !results.fresh;
  if (problem === null && !isStale) return null;
  const again = async () => {
    setRunning(true);
    setError(null);
    try {
      await run({ input, searchId, topK: RESULTS_PER_LIST });
    } catch (reason) {
      setError(reason);
    } finally {
      setRunning(false);
    }
  };
  return (
    <Alert
      m="md"
      mb={0}
      role="alert"
      color={problem === null ? "yellow" : "red"}
      variant="light"
      title={problem === null ? "Only the words count for now" : "The search failed"}
    >
      <Group justify="space-between">
        <Text size="sm">{problem === null ? "This question was embedded by another model than the chunks are now. Run it again to search by meaning." : reasonOf(problem)}</Text>
        <Button size="xs" variant="light" loading={isRunning} leftSection={<RetryIcon size={14} />} onClick={again}>
          Run again
        </Button>
      </Group>
    </Alert>
  );
}

/** Return the words of a question worth marking in a text. */
function wordsOf(input: string): string[] {
  return input.split(/[^\p{L}\p{N}_]+/u).filter((word) => word.length > 2 && !UNMARKED.has(word.toLowerCase()));
}
