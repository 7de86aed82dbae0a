import { Button, Text } from "@mantine/core";
import { usePaginatedQuery } from "convex/react";
import { api, type SearchRow } from "../api.ts";
import { HistoryIcon } from "../components/icons.tsx";
import { More } from "../components/more.tsx";
import { Empty, Panel } from "../components/panel.tsx";
import { hashOf } from "../lib/location.ts";
import { duration, many } from "../lib/words.ts";

const PAGE = 10;

/** Every search anyone made here, each one click away. */
export function History({ current }: { current: string }) {
  return (
    <Panel title="Search history">
      <Rows current={current} />
    </Panel>
  );
}

function Rows({ current }: { current: string }) {
  const searches = usePaginatedQuery(api.searches.paginate, {}, { initialNumItems: PAGE });
  if (searches.status !== "LoadingFirstPage" && searches.results.length === 0) {
    return <Empty title="No searches yet">The first one you make will be listed here, for everyone who has this page open.</Empty>;
  }
  return (
    <>
      <ul className="history" aria-label="Search history">
        {searches.results.map((search) => (
          <li key={search._id} aria-current={search.input === current || undefined}>
            <HistoryIcon size={16} />
            <Text size="sm" className="history-input" title={search.input}>
              {search.input}
            </Text>
            <Text size="xs" c="dimmed" className="history-facts">
              {factsOf(search)}
            </Text>
            <Button
              component="a"
              href={hashOf({ tab: "search", input: search.input })}
              size="compact-sm"
              variant="subtle"
              aria-label={`Re-use ${search.input}`}
            >
              Re-use
            </Button>
          </li>
        ))}
      </ul>
      <More status={searches.status} load={() => searches.loadMore(PAGE)} />
    </>
  );
}

function factsOf(search: SearchRow): string {
  const facts = [many(search.relatedChunks?.length ?? search.count, "result")];
  const took = (search.embeddingMs ?? 0) + (search.queryMs ?? 0);
  if (took > 0) facts.push(duration(took));
  return facts.join(" · ");
}
