import { usePaginatedQuery } from "convex/react";
import { useEffect, useMemo } from "react";
import { type Source, sources } from "../../api/sources.ts";
import { linesOf } from "./layout.ts";

const BLOCKS = 4;
const CHUNKS = 200;

/**
 * Return a source's text and chunks as far as they are needed: the text until `line` (or as far as was scrolled),
 * and the chunks of all that text. A version that is not the searched one has a text only.
 */
export function useContent(source: Source, version: number | null, line: number | undefined) {
  const isServed = version === null || version === source.version;
  const text = usePaginatedQuery(
    sources.blocks,
    { source: source.id, ...(version === null ? {} : { version }) },
    { initialNumItems: BLOCKS },
  );
  const found = usePaginatedQuery(sources.chunks, isServed ? { source: source.id } : "skip", {
    initialNumItems: CHUNKS,
  });
  const chunks = useMemo(() => (isServed ? found.results : []), [isServed, found.results]);
  const lines = useMemo(() => linesOf(text.results, chunks), [text.results, chunks]);
  const lastLine = lines.at(-1)?.number ?? 0;
  const chunkedLine = chunks.at(-1)?.lastLine ?? 0;
  const { status: textStatus, loadMore: moreText } = text;
  const { status: chunkStatus, loadMore: moreChunks } = found;
  useEffect(() => {
    if (textStatus === "CanLoadMore" && line !== undefined && lastLine <= line) moreText(BLOCKS);
  }, [textStatus, moreText, line, lastLine]);
  useEffect(() => {
    if (chunkStatus === "CanLoadMore" && chunkedLine <= Math.max(lastLine, line ?? 0)) moreChunks(CHUNKS);
  }, [chunkStatus, moreChunks, chunkedLine, lastLine, line]);
  return {
    isLoading: textStatus === "LoadingFirstPage",
    lines,
    chunks,
    more: textStatus === "CanLoadMore" || textStatus === "LoadingMore" ? () => moreText(BLOCKS) : undefined,
  };
}
