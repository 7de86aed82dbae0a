// Questions that are answered, their threads and their templates.
import type { PaginationResult } from "convex/server";
import type { Options } from "./searches.ts";
import { action, mutation, type None, type Paged, query } from "./reference.ts";

export type AnswerState = "waiting" | "searching" | "writing" | "done" | "stopped" | "failed";

export type Passage = {
  /** As in "[1]". */
  number: number;
  chunk: string;
  source: string;
  key: string;
  name: string;
  version: number;
  firstLine: number;
  lastLine: number;
  page?: number | null;
  headings: string[];
  score: number;
  /** Where the same chunk is now; absent when it was changed or deleted since. */
  current?: { version: number; firstLine: number; lastLine: number };
  /** Its source is deleted. */
  gone?: boolean | null;
  text?: string | null;
};

export type Answer = {
  _id: string;
  _creationTime: number;
  question: string;
  /** The question as it was searched, in a thread. */
  searched?: string | null;
  thread?: string | null;
  number?: number | null;
  state: AnswerState;
  kind?: "chat" | "extractive" | "nothing" | null;
  error?: string | null;
  template: string;
  model?: string | null;
  passages: Passage[];
  cited: number[];
  characters: number;
  attempts: number;
  retries: number;
  nextTry?: number | null;
  tokensIn: number;
  tokensOut: number;
  cost?: number | null;
  /** What a reader should know of it. */
  note?: string | null;
  condenseMs?: number | null;
  searchMs?: number | null;
  firstTokenMs?: number | null;
  totalMs?: number | null;
};

/** A stretch of an answer; with `passages` it is a citation mark such as "[1, 3]". */
export type Span = { text: string; passages?: number[] };

/** A page of an answer's text. A full one never changes again; then there is a next one. */
export type TextPage = { blocks: { number: number; spans: Span[] }[]; full: boolean };

export type Prompt = {
  messages: { role: string; content: string }[];
  passages: Passage[];
  /** How many of the passages, from the first, had room in the prompt. */
  used: number;
  searched?: string | null;
  /** An estimate. */
  tokens: number;
  budget: number;
};

/** Lists leave the passages out. */
export type AnswerRow = Omit<Answer, "passages">;

export type Thread = { _id: string; _creationTime: number; title: string; answers: number; updated: number };

export type Template = {
  name: string;
  instructions: string;
  prompt: string;
  tokenBudget: number;
  builtIn: boolean;
  changed: boolean;
  fields: { name: string; meaning: string; required: boolean }[];
};

type Choice = {
  question: string;
  thread?: string | null;
  template?: string | null;
  /** How to search for what it is made of. */
  options?: Options | null;
};

export const answers = {
  ask: mutation<Choice & { kind?: "chat" | "extractive" }, string>("answers:ask"),
  get: query<{ answer: string }, Answer>("answers:get"),
  blocks: query<{ answer: string; page: number }, TextPage>("answers:blocks"),
  stop: mutation<{ answer: string }, boolean>("answers:stop"),
  retry: mutation<{ answer: string }, null>("answers:retry"),
  delete: mutation<{ answer: string }, null>("answers:delete"),
  inspect: query<{ answer: string }, Prompt | null>("answers:inspect"),
  preview: action<Choice & { instructions?: string; prompt?: string; tokenBudget?: number }, Prompt>("answers:preview"),
};

export const threads = {
  start: mutation<{ title?: string }, string>("threads:start"),
  rename: mutation<{ thread: string; title: string }, null>("threads:rename"),
  delete: mutation<{ thread: string }, null>("threads:delete"),
  list: query<Paged, PaginationResult<Thread>>("threads:list"),
  get: query<{ thread: string }, Thread>("threads:get"),
  answers: query<Paged & { thread: string }, PaginationResult<AnswerRow>>("threads:answers"),
};

export const templates = {
  list: query<None, Template[]>("templates:list"),
  check: query<{ name: string; instructions: string; prompt: string }, string[]>("templates:check"),
  save: mutation<{ name: string; instructions: string; prompt: string; tokenBudget?: number }, null>("templates:save"),
  reset: mutation<{ name: string }, null>("templates:reset"),
};
