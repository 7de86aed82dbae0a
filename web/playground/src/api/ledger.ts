// What models took: tokens, time and money.
import type { PaginationResult } from "convex/server";
import { mutation, type None, type Paged, query } from "./reference.ts";

export type Work = "embed" | "search" | "answer" | "rewrite" | "rerank";

export type Period = "total" | "month" | "day";

export type Total = {
  work: Work;
  model: string;
  entries: number;
  tokensIn: number;
  tokensOut: number;
  ms: number;
  retries: number;
  calls: number;
  cached: number;
  cost: number;
  /** Entries whose model has no price. */
  unpriced: number;
};

export type Entry = {
  id: string;
  created: number;
  work: Work;
  model: string;
  subject?: string | null;
  name: string | null;
  tokensIn: number;
  tokensOut: number;
  ms: number;
  retries: number;
  calls: number;
  cached: number;
  cost: number | null;
};

export type Budget = {
  per: Period;
  work: Work | null;
  each: boolean;
  money: number | null;
  tokens: number | null;
  usedMoney: number;
  usedTokens: number;
  exhausted: boolean;
  until: number | null;
  /** It was written by the application, not set here. */
  fromCode: boolean;
};

export const ledger = {
  totals: query<{ period?: Period }, Total[]>("ledger:totals"),
  entries: query<Paged & { subject?: string; work?: Work }, PaginationResult<Entry>>("ledger:entries"),
  budgets: query<None, Budget[]>("ledger:budgets"),
  setBudget: mutation<{ per: Period; money?: number; tokens?: number; work?: Work }, null>("ledger:setBudget"),
};
