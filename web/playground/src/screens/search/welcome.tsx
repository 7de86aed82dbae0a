import { ActionIcon, Tooltip } from "@mantine/core";
import { useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { type ResultRow, type SearchRow, searches } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { useArrival, useArrivals } from "../../lib/arrivals.ts";
import { useNow } from "../../lib/now.ts";
import { hashOf } from "../../lib/place.ts";
import { ago, duration, many, withoutHeading } from "../../lib/words.ts";
import { Boundary } from "../../parts/boundary.tsx";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { Empty } from "../../parts/empty.tsx";
import { PinIcon, RetryIcon, SearchIcon } from "../../parts/icons.tsx";
import { Dot, Facts, Key, More, Waiting } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";
import { unusual, wishesOf } from "./filters.ts";

const PINNED = 12;
const PAGE = 20;

/** Before a question: the pinned searches as they are now, and all earlier ones. */
export function Welcome() {
  const pinned = usePaginatedQuery(searches.history, { pinned: true }, { initialNumItems: PINNED });
  const past = usePaginatedQuery(searches.history, {}, { initialNumItems: PAGE });
  if (past.status === "LoadingFirstPage") return <Waiting />;
  if (past.results.length === 0) return <First />;
  return (
    <div className="sheet welcome">
      {pinned.results.length > 0 && (
        <section aria-label="Pinned">
          <h2 className="panel-title">Pinned: they watch the corpus</h2>
          <div className="standing">
            {pinned.results.map((search) => (
              <Boundary key={search._id} what={search.input}>
                <Standing search={search} />
              </Boundary>
            ))}
          </div>
        </section>
      )}
      <section aria-label="History">
        <h2 className="panel-title">Earlier searches</h2>
        <ul className="past">
          {past.results.map((search) => (
            <Past key={search._id} search={search} />
          ))}
        </ul>
        <More status={past.status} load={() => past.loadMore(PAGE)} />
      </section>
    </div>
  );
}

function First() {
  const totals = useQuery(sources.totals, {});
  if (totals?.sources === 0) {
    return (
      <Empty
        icon={SearchIcon}
        title="Nothing to search yet"
        actions={
          <a className="link" href={hashOf("sources", null, { add: 1 })}>
            Add a source
          </a>
        }
      >
        A text is found by its words as soon as it is added, and by its meaning a moment later.
      </Empty>
    );
  }
  return (
    <Empty icon={SearchIcon} title="Ask in your own words">
      Results by meaning, by words, and by both stand beside each other. They stay live: what is added later appears by
      itself. <Key>/</Key> brings you here from anywhere.
    </Empty>
  );
}

const SHOWN = 3;

/** A pinned search with its best hits, which change as the corpus does. */
function Standing({ search }: { search: SearchRow }) {
  const results = useQuery(searches.results, { searchId: search._id });
  return (
    <a className="standing-card plain" href={hashOf("search", search._id)} data-row>
      <span className="standing-title">
        <PinIcon size={14} />
        <span className="cut">{search.name ?? search.input}</span>
      </span>
      {results ? <Best rows={results.rows.slice(0, SHOWN)} /> : <span className="quiet">…</span>}
    </a>
  );
}

function Best({ rows }: { rows: ResultRow[] }) {
  const arrives = useArrivals();
  if (rows.length === 0) return <span className="quiet">Nothing yet</span>;
  return rows.map((row) => <BestRow key={row._id} row={row} arrives={arrives} />);
}

function BestRow({ row, arrives }: { row: ResultRow; arrives: boolean }) {
  const arrival = useArrival(arrives);
  return (
    <span className="standing-hit" {...arrival}>
      <Dot of={row.source} />
      <span className="cut">
        {row.name ?? row.sourceName}{" "}
        <span className="quiet">{withoutHeading(row.text, row.headings).slice(0, 90)}</span>
      </span>
    </span>
  );
}

function Past({ search }: { search: SearchRow }) {
  const now = useNow();
  const rerun = useMutation(searches.rerun);
  const pin = useMutation(searches.pin);
  const remove = useMutation(searches.delete);
  const set = unusual(wishesOf(search.options));
  return (
    <li className="past-row">
      <a className="past-input cut" href={hashOf("search", search._id)} data-row>
        {search.input}
      </a>
      <Facts
        of={[
          set > 0 && many(set, "option"),
          search.asks > 1 && `${search.asks} times`,
          search.tokens != null && many(search.tokens, "token"),
          search.embeddingMs != null && duration(search.embeddingMs),
          ago(search.used, now),
        ]}
      />
      {search.state !== "ready" && <State of={search.state} />}
      <span className="past-acts">
        <Tooltip label="Embed it again">
          <ActionIcon
            variant="subtle"
            color="gray"
            aria-label={`Run ${search.input} again`}
            onClick={() => void rerun({ searchId: search._id })}
          >
            <RetryIcon size={15} />
          </ActionIcon>
        </Tooltip>
        <Tooltip label={search.pinned ? "Unpin" : "Pin"}>
          <ActionIcon
            variant={search.pinned ? "light" : "subtle"}
            color={search.pinned ? "flow" : "gray"}
            aria-pressed={search.pinned}
            aria-label={`Pin ${search.input}`}
            onClick={() => void pin({ searchId: search._id, pinned: !search.pinned })}
          >
            <PinIcon size={15} />
          </ActionIcon>
        </Tooltip>
        <ConfirmDelete label={`Forget ${search.input}`} act={() => remove({ searchId: search._id })}>
          Forget this search?
        </ConfirmDelete>
      </span>
    </li>
  );
}
