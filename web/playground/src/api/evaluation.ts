// A golden set of questions, and how well searches find what is expected.
import type { PaginationResult } from "convex/server";
import { mutation, type Paged, query } from "./reference.ts";
import type { Options } from "./searches.ts";

export type Expected = { key?: string; text?: string };

export type Cut = { k: number; recall: number; hit: number; ndcg: number };

export type Metrics = { questions: number; mrr: number; at: Cut[]; pending: number; failed: number };

export type Ranked = {
  _id: string;
  question: string;
  expected: Expected[];
  measures?: { rank?: number | null } | null;
  error?: string | null;
};

export const evaluation = {
  metrics: query<{ options?: Options; cutoffs?: number[] }, Metrics>("evaluation:metrics"),
  ranks: query<Paged & { options?: Options }, PaginationResult<Ranked>>("evaluation:ranks"),
  put: mutation<{ questions: { question: string; expected: Expected[] }[] }, number>("evaluation:put"),
  delete: mutation<{ golden: string }, null>("evaluation:delete"),
};
