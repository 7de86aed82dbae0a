// Sources, their versions, texts and chunks, and the work on them.
import type { PaginationResult } from "convex/server";
import { mutation, type None, type Paged, query } from "./reference.ts";

export type SourceState = "reading" | "embedding" | "ready" | "failed" | "stopped";

export type Source = {
  id: string;
  created: number;
  key: string;
  name: string;
  kind: string;
  state: SourceState;
  origin?: string | null;
  /** The version that is searched; 0: none yet. */
  version: number;
  pending?: number | null;
  chunkCount: number;
  importance: number;
  category?: string | null;
  summary?: string | null;
  error?: string | null;
  updated: number;
  /** Only while it is not ready. */
  progress?: { embedded: number; total: number };
  attempts?: number | null;
  nextTry?: number | null;
};

export type Version = {
  number: number;
  state: "reading" | "embedding" | "ready" | "replaced" | "failed" | "stopped";
  kind: string;
  /** Where the original can be fetched. */
  file?: string | null;
  characters: number;
  lines: number;
  pages?: number | null;
  chunkCount: number;
  reused: number;
  model: string;
  tokens: number;
  embeddingMs: number;
  cached: number;
  retries: number;
  cost: number;
  attempts: number;
  nextTry?: number | null;
  error?: string | null;
  created: number;
};

/** A piece of a version's text; `start` counts characters, `firstLine` from 1. */
export type Block = { number: number; start: number; firstLine: number; text: string };

export type Chunk = {
  id: string;
  source: string;
  version: number;
  number: number;
  text: string;
  firstLine: number;
  lastLine: number;
  start?: number | null;
  end?: number | null;
  page?: number | null;
  headings: string[];
  name?: string | null;
  kind: string;
  category?: string | null;
  embedded: boolean;
  error?: string | null;
};

export type Totals = {
  sources: number;
  chunks: number;
  /** Chunks without a vector. */
  waiting: number;
  failed: number;
  reading: number;
  embedding: number;
};

export type Added = { source: string; version: number; changed: boolean; state: SourceState };

export type Job = {
  source: string;
  key: string;
  name: string;
  version: number;
  state: SourceState;
  done: number;
  total: number;
  attempts: number;
  nextTry?: number | null;
  error?: string | null;
  updated: number;
};

export type JobsStatus = { state: "idle" | "running" | "waiting" | "stopped"; until?: number; reason?: string };

type Optional = { name?: string; category?: string; importance?: number };

export const sources = {
  put: mutation<Optional & { key: string; text: string; kind?: string; origin?: string }, Added>("sources:put"),
  putFile: mutation<Optional & { file: string; key?: string }, Added>("sources:putFile"),
  putUrl: mutation<Optional & { url: string; key?: string }, Added>("sources:putUrl"),
  uploadUrl: mutation<None, string>("sources:uploadUrl"),
  update: mutation<Optional & { source: string }, null>("sources:update"),
  remove: mutation<{ source: string }, null>("sources:remove"),
  retry: mutation<{ source: string }, null>("sources:retry"),
  retryAll: mutation<None, number>("sources:retryAll"),
  stop: mutation<{ source: string }, null>("sources:stop"),
  list: query<Paged & { state?: SourceState }, PaginationResult<Source>>("sources:list"),
  get: query<{ source: string }, Source | null>("sources:get"),
  totals: query<None, Totals>("sources:totals"),
  versions: query<{ source: string }, Version[]>("sources:versions"),
  blocks: query<Paged & { source: string; version?: number }, PaginationResult<Block>>("sources:blocks"),
  chunks: query<Paged & { source: string }, PaginationResult<Chunk>>("sources:chunks"),
  chunk: query<{ chunk: string }, Chunk | null>("sources:chunk"),
};

export const jobs = {
  list: query<None, Job[]>("jobs:list"),
  status: query<None, JobsStatus>("jobs:status"),
};
