// What the corpus works with, and who watches it.
import { type None, query } from "./reference.ts";

export type Check = {
  name: "embedder" | "model" | "chat" | "reranker" | "transforms" | "budget" | "prices";
  /** `off`: it is not there and not needed. */
  state: "ok" | "warning" | "missing" | "off";
  text: string;
  variables: { name: string; isSet: boolean }[];
  /** What mends it. */
  command?: string | null;
};

export type Gate = { ready: boolean; currency: string; checks: Check[] };

export type Live = {
  /** Connections that follow anything. */
  watchers: number;
  queries: number;
  functions: { path: string; queries: number; watchers: number }[];
};

export const status = {
  check: query<None, Gate>("status:check"),
  live: query<None, Live>("status:live"),
};
