// References to the corpus's functions by path.
import { makeFunctionReference, type PaginationOptions } from "convex/server";

export type None = Record<string, never>;
export type Paged = { paginationOpts: PaginationOptions };

type Arguments = Record<string, unknown>;

const CORPUS = "docs";

export const query = <Args extends Arguments, Result>(path: string) =>
  makeFunctionReference<"query", Args, Result>(`${CORPUS}/${path}`);

export const mutation = <Args extends Arguments, Result>(path: string) =>
  makeFunctionReference<"mutation", Args, Result>(`${CORPUS}/${path}`);

export const action = <Args extends Arguments, Result>(path: string) =>
  makeFunctionReference<"action", Args, Result>(`${CORPUS}/${path}`);
