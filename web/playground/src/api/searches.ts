// Searches as documents: started once, live from then on.
import type { PaginationResult } from "convex/server";
import { action, mutation, type None, type Paged, query } from "./reference.ts";

export type Mode = "hybrid" | "dense" | "text";

export type Options = {
  mode?: Mode | null;
  limit?: number | null;
  /** The share of meaning beside words, 0 to 1. */
  weight?: number | null;
  method?: "minmax" | "rrf" | null;
  /** JSON text of a Pinecone filter. */
  filter?: string | null;
  sources?: string[] | null;
  minLength?: number | null;
  /** Neighbours before and after each hit. */
  before?: number | null;
  after?: number | null;
  transform?: string | null;
  rerank?: boolean | null;
  narrow?: { by: "source" | "category"; to: number };
};

export type SearchRow = {
  _id: string;
  _creationTime: number;
  input: string;
  options: Options;
  state: "pending" | "ready" | "failed";
  error?: string | null;
  name?: string | null;
  pinned: boolean;
  used: number;
  asks: number;
  /** The text that was embedded, where it was transformed. */
  asked?: string | null;
  model?: string | null;
  tokens?: number | null;
  searchMs?: number | null;
  embeddingMs?: number | null;
  transformMs?: number | null;
  rerankMs?: number | null;
  /** It was embedded by another model than the chunks are now. */
  outdated: boolean;
};

export type Leg = { rank?: number | null; score?: number | null; why?: string | null };

export type ResultRow = {
  _id: string;
  source: string;
  sourceKey: string;
  sourceName: string;
  version: number;
  number: number;
  text: string;
  name?: string | null;
  headings: string[];
  kind: string;
  category?: string | null;
  page?: number | null;
  firstLine: number;
  lastLine: number;
  embedded: boolean;
  score: number;
  /** The score beside the best one's, 0 to 1. */
  bar: number;
  importance: number;
  dense: Leg;
  words: Leg;
  rerank?: number | null;
  /** Its place in `passages`. */
  passage?: number | null;
};

/** Neighbouring chunks as one text. */
export type Window = {
  source: string;
  sourceName: string;
  version: number;
  text: string;
  firstLine: number;
  lastLine: number;
  headings: string[];
  chunks: string[];
  hits: string[];
  score: number;
};

export type Results = {
  rows: ResultRow[];
  passages: Window[];
  stale: boolean;
  note?: string | null;
  error?: string | null;
  narrowed?: string[] | null;
};

export type Explained = {
  rows: ResultRow[];
  leftOut: { row: ResultRow; why: string }[];
  asked: string;
  mode: Mode;
  options: Options;
  narrowed?: string[] | null;
};

export type Near = { target: ResultRow; rows: ResultRow[]; error?: string };

export type Choices = {
  transforms: string[];
  rerank: boolean;
  filters: string[];
  categories: string[];
  limit: number;
};

export const searches = {
  start: mutation<{ input: string; options?: Options }, string>("searches:start"),
  results: query<{ searchId: string; mode?: Mode }, Results | null>("searches:results"),
  explain: query<{ searchId: string; mode?: Mode }, Explained | null>("searches:explain"),
  get: query<{ searchId: string }, SearchRow>("searches:get"),
  history: query<Paged & { pinned?: boolean }, PaginationResult<SearchRow>>("searches:history"),
  past: query<{ input: string; limit?: number }, (SearchRow & { score: number })[]>("searches:past"),
  similar: query<{ searchId: string; limit?: number }, (SearchRow & { score: number })[]>("searches:similar"),
  rerun: mutation<{ searchId: string }, null>("searches:rerun"),
  pin: mutation<{ searchId: string; pinned: boolean; name?: string }, null>("searches:pin"),
  delete: mutation<{ searchId: string }, null>("searches:delete"),
  near: query<{ chunk: string; limit?: number; otherSources?: boolean; minLength?: number }, Near | null>(
    "searches:near",
  ),
  choices: query<None, Choices>("searches:choices"),
  find: action<{ input: string; options?: Options }, { rows: ResultRow[] }>("searches:find"),
};
