import { Button, Text } from "@mantine/core";
import { useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { api } from "../api.ts";
import { ChunkList, ChunkSkeleton, ChunkText } from "../components/chunks.tsx";
import { CloseIcon } from "../components/icons.tsx";
import { More } from "../components/more.tsx";
import { Empty, Panel, Problem } from "../components/panel.tsx";
import { usePlace } from "../lib/location.ts";
import { useStarted } from "../lib/started.ts";
import { useIsRemote } from "../lib/store.ts";

const NEIGHBOURS = 10;
const PAGE = 10;

export function CompareTab() {
  const [place] = usePlace();
  return place.chunk ? <Neighbours key={place.chunk} chunk={place.chunk} /> : <ChooseChunk />;
}

function ChooseChunk() {
  return (
    <Panel title="Choose a chunk" note="and see what is nearest to it">
      <AllChunks />
    </Panel>
  );
}

function AllChunks() {
  const chunks = usePaginatedQuery(api.sources.paginateChunks, {}, { initialNumItems: PAGE });
  if (chunks.status === "LoadingFirstPage") return <ChunkSkeleton rows={5} />;
  if (chunks.results.length === 0) {
    return (
      <Empty title="No chunks yet">
        <a href="#/sources">Add a source</a>, then compare its chunks with each other.
      </Empty>
    );
  }
  return (
    <>
      <ChunkList label="All chunks" rows={chunks.results} />
      <More status={chunks.status} load={() => chunks.loadMore(PAGE)} />
    </>
  );
}

function Neighbours({ chunk }: { chunk: string }) {
  const upsert = useMutation(api.comparisons.upsert);
  const comparison = useStarted(chunk, (target) => upsert({ target, count: NEIGHBOURS }));
  if (comparison.error) {
    return (
      <Problem title="The chunk could not be compared" error={comparison.error}>
        <Button component="a" href="#/compare" size="xs" variant="light" color="red">
          Choose another chunk
        </Button>
      </Problem>
    );
  }
  const clear = (
    <Button component="a" href="#/compare" size="compact-sm" variant="subtle" leftSection={<CloseIcon size={14} />}>
      Clear
    </Button>
  );
  return (
    <Panel title="Nearest neighbours" note="each can be compared in turn" aside={clear}>
      <Compared comparisonId={comparison.id} />
    </Panel>
  );
}

function Compared({ comparisonId }: { comparisonId: string | null }) {
  const isRemote = useIsRemote();
  const comparison = useQuery(api.comparisons.get, comparisonId === null ? "skip" : { comparisonId });
  if (!comparison) return <ChunkSkeleton rows={5} />;
  const { target, relatedChunks } = comparison;
  return (
    <>
      <div className="target">
        <Text size="sm" fw={600}>
          {target.sourceName} · chunk {target.chunkIndex + 1}
        </Text>
        <ChunkText text={target.text} />
      </div>
      {relatedChunks.length === 0 ? (
        <Empty title="No neighbours">
          Nothing else is embedded yet. <a href="#/sources">Add another source</a> and {isRemote ? "compare again" : "it appears here"}.
        </Empty>
      ) : (
        <ChunkList label="Nearest neighbours" rows={relatedChunks} />
      )}
    </>
  );
}
