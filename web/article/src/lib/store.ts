import { useQuery } from "convex/react";
import { api } from "../api.ts";

/** Whether vectors are kept in another service. Matches by meaning are then those of when they were asked for. */
export function useIsRemote(): boolean {
  return Object.keys(useQuery(api.environment.pinecone, {}) ?? {}).length > 0;
}
