import { Button, SegmentedControl, Tooltip } from "@mantine/core";
import { useDebouncedCallback, useHotkeys } from "@mantine/hooks";
import { useMutation, useQuery } from "convex/react";
import { useEffect, useState } from "react";
import { type Mode, type SearchRow, searches } from "../../api/searches.ts";
import { useDeed } from "../../lib/deed.ts";
import { go, hashOf, usePlace } from "../../lib/place.ts";
import { duration, many } from "../../lib/words.ts";
import { Boundary, Problem } from "../../parts/boundary.tsx";
import { InfoIcon, PinIcon, RetryIcon } from "../../parts/icons.tsx";
import { Facts, Waiting } from "../../parts/small.tsx";
import { SearchBox } from "./box.tsx";
import { Column, COLUMNS } from "./column.tsx";
import { optionsOf, USUAL, type Wishes, wishesOf } from "./filters.ts";
import { OptionsButton } from "./options.tsx";
import "./search.css";
import { Welcome } from "./welcome.tsx";

const SETTLE_MS = 300;

/** One question, searched in three ways beside each other; all of it stays live. */
export function SearchScreen({ id }: { id: string | null }) {
  const { params } = usePlace();
  const asked = params.get("q");
  const search = useQuery(searches.get, id ? { searchId: id } : "skip");
  const [wishes, setWishes] = useState<Wishes>(USUAL);
  const start = useMutation(searches.start);
  const deed = useDeed(async (input: string, wanted: Wishes) => {
    go("search", await start({ input, options: optionsOf(wanted) }));
  });
  const { run } = deed;
  useEffect(() => {
    if (search) setWishes(wishesOf(search.options));
  }, [search]);
  useEffect(() => {
    if (asked) void run(asked, USUAL);
    // The question in the address is asked once, with the usual options.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [asked]);
  // Each step of a number would be a search of its own.
  const runSoon = useDebouncedCallback((input: string, wanted: Wishes) => void run(input, wanted), SETTLE_MS);
  const change = (wanted: Wishes) => {
    setWishes(wanted);
    if (search) runSoon(search.input, wanted);
  };
  return (
    <>
      <header className="header search-header">
        <h1 className="unseen">Search lab</h1>
        <SearchBox
          input={search?.input ?? asked ?? ""}
          isWanted={params.has("focus") || id === null}
          search={(input) => void run(input, wishes)}
        />
        <OptionsButton wishes={wishes} change={change} />
      </header>
      <div className="body">
        {deed.error !== null && <Problem title="The search could not be started" error={deed.error} />}
        {id === null ? asked ? <Waiting /> : <Welcome /> : search ? <Lab key={id} search={search} /> : <Waiting />}
      </div>
    </>
  );
}

function Lab({ search }: { search: SearchRow }) {
  const [pointed, point] = useState<string | null>(null);
  const [isExplained, setExplained] = useState(false);
  const [mode, setMode] = useState<Mode>("hybrid");
  useHotkeys([
    ["x", () => setExplained((was) => !was)],
    ["c", compareFocused],
  ]);
  return (
    <div className="lab" data-mode={mode}>
      <div className="lab-bar">
        <About search={search} />
        <span className="lab-acts">
          <Tooltip label="Show what each score is made of (X)">
            <Button
              variant={isExplained ? "light" : "default"}
              leftSection={<InfoIcon size={14} />}
              aria-pressed={isExplained}
              onClick={() => setExplained(!isExplained)}
            >
              Explain
            </Button>
          </Tooltip>
          <Rerun search={search} />
          <Pin search={search} />
        </span>
      </div>
      <SegmentedControl
        className="lab-modes"
        aria-label="List"
        fullWidth
        value={mode}
        onChange={(value) => setMode(value as Mode)}
        data={(Object.keys(COLUMNS) as Mode[]).map((one) => ({ value: one, label: COLUMNS[one].title }))}
      />
      <div className="columns">
        {(Object.keys(COLUMNS) as Mode[]).map((one) => (
          <Column key={one} mode={one} search={search} isExplained={isExplained} pointed={pointed} point={point} />
        ))}
      </div>
      <Boundary what="The list of similar searches">
        <Similar search={search} />
      </Boundary>
    </div>
  );
}

/** Go from the row that has the focus to its chunk's neighbours. */
function compareFocused() {
  const chunk = document.activeElement?.closest<HTMLElement>("[data-chunk]")?.dataset["chunk"];
  if (chunk) go("compare", chunk);
}

function About({ search }: { search: SearchRow }) {
  return (
    <div className="lab-about">
      <span className="live">
        <span className="pulse" />
        live
      </span>
      <Facts
        of={[
          search.embeddingMs != null && `embedded in ${duration(search.embeddingMs)}`,
          search.tokens != null && many(search.tokens, "token"),
          search.transformMs != null && `changed in ${duration(search.transformMs)}`,
          search.rerankMs != null && `reranked in ${duration(search.rerankMs)}`,
          search.asks > 1 && `asked ${search.asks} times`,
        ]}
      />
      {search.asked != null && search.asked !== search.input && (
        <p className="lab-asked">Searched for “{search.asked}”</p>
      )}
      {search.outdated && <p className="lab-asked">Embedded by another model than the chunks are now: run it again.</p>}
    </div>
  );
}

function Rerun({ search }: { search: SearchRow }) {
  const rerun = useMutation(searches.rerun);
  const deed = useDeed(rerun);
  return (
    <Tooltip label="Embed the question again">
      <Button
        variant="default"
        leftSection={<RetryIcon size={14} />}
        loading={deed.isRunning}
        onClick={() => void deed.run({ searchId: search._id })}
      >
        Run again
      </Button>
    </Tooltip>
  );
}

function Pin({ search }: { search: SearchRow }) {
  const pin = useMutation(searches.pin);
  const toggle = () => void pin({ searchId: search._id, pinned: !search.pinned });
  useHotkeys([["p", toggle]]);
  return (
    <Tooltip label="Pinned searches stay, and show at the side what changes (P)">
      <Button
        variant={search.pinned ? "light" : "default"}
        leftSection={<PinIcon size={14} />}
        aria-pressed={search.pinned}
        onClick={toggle}
      >
        {search.pinned ? "Pinned" : "Pin"}
      </Button>
    </Tooltip>
  );
}

const SIMILAR = 6;

function Similar({ search }: { search: SearchRow }) {
  const similar = useQuery(searches.similar, { searchId: search._id, limit: SIMILAR });
  if (!similar || similar.length === 0) return null;
  return (
    <section className="similar" aria-label="Similar searches">
      <h2 className="panel-title">Asked before, in other words</h2>
      <div className="chips">
        {similar.map((one) => (
          <a key={one._id} className="chip plain" href={hashOf("search", one._id)}>
            {one.input}
          </a>
        ))}
      </div>
    </section>
  );
}
