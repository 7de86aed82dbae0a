// The functions the page calls, by path, with the shapes that cross the wire.
import { makeFunctionReference, type PaginationOptions, type PaginationResult } from "convex/server";

export type Lines = { from: number; to: number };

export type NewChunk = { text: string; lines: Lines };

export type ChunkRow = {
  _id: string;
  text: string;
  chunkIndex: number;
  sourceName: string;
  lines: Lines;
  /** What the chunk describes, such as `shutil.copytree`; absent for pasted text. */
  name?: string | null;
  file?: string | null;
  score?: number;
};

export type SourceState = "pending" | "saved" | "failed";

export type SourceRow = {
  _id: string;
  name: string;
  chunkCount: number;
  firstChunkText: string;
  saved: boolean;
  state: SourceState;
  error?: string | null;
  totalTokens?: number | null;
};

export type SearchRow = {
  _id: string;
  _creationTime: number;
  input: string;
  count: number;
  relatedChunks?: { id: string; score?: number }[] | null;
  embeddingMs?: number | null;
  queryMs?: number | null;
};

export type SearchResults = {
  status: "pending" | "ready" | "failed";
  error: string | null;
  hybrid: ChunkRow[];
  semantic: ChunkRow[];
  words: ChunkRow[];
  /** False when another model than the chunks' embedded the question: then only its words count. */
  fresh: boolean;
};

export type Comparison = {
  target: { text: string; chunkIndex: number; sourceName: string };
  relatedChunks: ChunkRow[];
};

export type Progress = {
  total: number;
  embedded: number;
  failed: number;
  pending: number;
  sources: number;
  startedAt: number | null;
  finishedAt: number | null;
  /** Chunks per second of the present or last run. */
  rate: number | null;
};

type None = Record<string, never>;
type Paged = { paginationOpts: PaginationOptions };

const query = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"query", Args, Result>(path);
const mutation = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"mutation", Args, Result>(path);
const action = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"action", Args, Result>(path);

export const api = {
  corpus: {
    progress: query<None, Progress>("corpus:progress"),
  },
  sources: {
    paginate: query<Paged, PaginationResult<SourceRow>>("sources:paginate"),
    paginateChunks: query<Paged, PaginationResult<ChunkRow>>("sources:paginateChunks"),
    add: mutation<{ name: string; chunks: NewChunk[] }, null>("sources:add"),
    retry: mutation<{ id: string }, null>("sources:retry"),
    delete: mutation<{ id: string }, null>("sources:deleteSource"),
  },
  searches: {
    upsert: mutation<{ input: string; count?: number }, string>("searches:upsert"),
    results: query<{ searchId: string }, SearchResults | null>("searches:results"),
    run: action<{ input: string; searchId: string; topK: number }, unknown>("searches:search"),
    paginate: query<Paged, PaginationResult<SearchRow>>("searches:paginate"),
  },
  comparisons: {
    upsert: mutation<{ target: string; count: number }, string>("comparisons:upsert"),
    get: query<{ comparisonId: string }, Comparison | null>("comparisons:get"),
  },
  environment: {
    embeddings: query<None, Record<string, boolean>>("lib/embeddings:envCheck"),
    pinecone: query<None, Record<string, boolean>>("lib/pinecone:envCheck"),
  },
};
