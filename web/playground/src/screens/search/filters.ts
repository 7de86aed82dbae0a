// The options of a search as the form holds them, and as the server takes them.
import type { Options } from "../../api/searches.ts";

export type Wishes = {
  weight: number;
  method: "minmax" | "rrf";
  limit: number;
  minLength: number;
  around: number;
  category: string | null;
  kinds: string[];
  sources: string[];
  transform: string | null;
  rerank: boolean;
  narrow: number;
  /** A filter that the form has no fields for. */
  further: string;
};

export const USUAL: Wishes = {
  weight: 0.75,
  method: "minmax",
  limit: 10,
  minLength: 0,
  around: 0,
  category: null,
  kinds: [],
  sources: [],
  transform: null,
  rerank: false,
  narrow: 0,
  further: "",
};

/** Return options in which only what is unusual is said, so that equal searches are equal. */
export function optionsOf(wishes: Wishes): Options {
  const options: Options = {};
  if (wishes.weight !== USUAL.weight) options.weight = wishes.weight;
  if (wishes.method !== USUAL.method) options.method = wishes.method;
  if (wishes.limit !== USUAL.limit) options.limit = wishes.limit;
  if (wishes.minLength > 0) options.minLength = wishes.minLength;
  if (wishes.around > 0) Object.assign(options, { before: wishes.around, after: wishes.around });
  if (wishes.sources.length > 0) options.sources = wishes.sources;
  if (wishes.transform) options.transform = wishes.transform;
  if (wishes.rerank) options.rerank = true;
  if (wishes.narrow > 0) options.narrow = { by: "source", to: wishes.narrow };
  const filter = filterOf(wishes);
  if (filter) options.filter = filter;
  return options;
}

function filterOf({ category, kinds, further }: Wishes): string {
  const conditions: unknown[] = [];
  if (category) conditions.push({ category: { $eq: category } });
  if (kinds.length > 0) conditions.push({ kind: { $in: kinds } });
  if (further.trim()) {
    // What is no JSON goes to the server as it is: its answer says what is wrong with it.
    if (conditions.length === 0 || !isJson(further)) return further.trim();
    conditions.push(JSON.parse(further));
  }
  if (conditions.length === 0) return "";
  return JSON.stringify(conditions.length === 1 ? conditions[0] : { $and: conditions });
}

/** Return the form's state for the options of a search. */
export function wishesOf(options: Options): Wishes {
  const wishes: Wishes = {
    ...USUAL,
    weight: options.weight ?? USUAL.weight,
    method: options.method ?? USUAL.method,
    limit: options.limit ?? USUAL.limit,
    minLength: options.minLength ?? 0,
    around: Math.max(options.before ?? 0, options.after ?? 0),
    sources: options.sources ?? [],
    transform: options.transform ?? null,
    rerank: options.rerank ?? false,
    narrow: options.narrow?.to ?? 0,
  };
  if (!options.filter) return wishes;
  if (!isJson(options.filter)) return { ...wishes, further: options.filter };
  const filter = JSON.parse(options.filter) as Record<string, unknown>;
  const conditions = Array.isArray(filter["$and"]) ? (filter["$and"] as Record<string, unknown>[]) : [filter];
  const rest: unknown[] = [];
  for (const condition of conditions) {
    const category = (condition["category"] as { $eq?: string } | undefined)?.$eq;
    const kinds = (condition["kind"] as { $in?: string[] } | undefined)?.$in;
    if (category !== undefined && wishes.category === null) wishes.category = category;
    else if (Array.isArray(kinds) && wishes.kinds.length === 0) wishes.kinds = kinds;
    else rest.push(condition);
  }
  if (rest.length > 0) wishes.further = JSON.stringify(rest.length === 1 ? rest[0] : { $and: rest });
  return wishes;
}

/** Return how many options are unusual, for the button's badge. */
export function unusual(wishes: Wishes): number {
  return (Object.keys(USUAL) as (keyof Wishes)[]).filter(
    (name) => JSON.stringify(wishes[name]) !== JSON.stringify(USUAL[name]),
  ).length;
}

function isJson(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
