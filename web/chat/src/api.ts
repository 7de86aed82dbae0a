// The functions the page calls, by path, with the shapes that cross the wire.
import { makeFunctionReference, type PaginationOptions, type PaginationResult } from "convex/server";

export type Channel = { _id: string; name: string };

export type Message = { _id: string; _creationTime: number; channel: string; author: string; body: string };

export type Found = { message: Message; channel: string; score: number };

type None = Record<string, never>;

const query = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"query", Args, Result>(path);
const mutation = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"mutation", Args, Result>(path);
const action = <Args extends Record<string, unknown>, Result>(path: string) =>
  makeFunctionReference<"action", Args, Result>(path);

export const api = {
  channels: {
    all: query<None, Channel[]>("channels:all"),
    begin: mutation<None, string>("channels:begin"),
    create: mutation<{ name: string }, string>("channels:create"),
  },
  messages: {
    page: query<{ channel: string; paginationOpts: PaginationOptions }, PaginationResult<Message>>("messages:page"),
    send: mutation<{ channel: string; body: string }, string>("messages:send"),
    find: query<{ text: string; vector: number[] }, Found[]>("messages:find"),
    question: action<{ text: string }, number[]>("messages:question"),
  },
};
