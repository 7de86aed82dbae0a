// The vectors in two dimensions.
import { mutation, type None, query } from "./reference.ts";

export type MapState = {
  state: "none" | "making" | "ready" | "failed";
  version: number;
  blocks: number;
  count: number;
  /** How many chunks had a vector; more than `count`: the map is a sample. */
  total: number;
  /** Chunks came, went or changed since. */
  stale: boolean;
  /** The share of the differences that is seen in the plane, 0 to 1. */
  explained?: number | null;
  made?: number | null;
  ms?: number | null;
  error?: string | null;
  /** The sources with most chunks. */
  largest: { source: string; key: string; name: string; category?: string | null; count: number }[];
};

/** A part of a map; never changes. */
export type Points = { chunks: string[]; sources: string[]; source: number[]; x: number[]; y: number[] };

export const maps = {
  get: query<None, MapState>("maps:get"),
  make: mutation<None, null>("maps:make"),
  points: query<{ version: number; number: number }, Points | null>("maps:points"),
  place: query<{ searchId: string }, { x: number; y: number } | null>("maps:place"),
};
