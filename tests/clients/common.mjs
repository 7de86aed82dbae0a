// The official client as an application would import it, and a way to tell pytest what was seen.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_MODULES}/x.js`);
export const { ConvexClient, ConvexHttpClient, BaseConvexClient } = require("convex/browser");
export const { anyApi } = require("convex/server");
export const { ConvexError } = require("convex/values");

export const api = anyApi;
export const url = process.argv[2];

export function report(seen) {
  console.log(JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? `${value}n` : value)));
}

export async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return { isConvexError: error instanceof ConvexError, data: error.data, message: error.message };
  }
}

// Resolves when a subscription has shown a value that passes; gives all values until then.
export function until(client, query, args, passes) {
  const values = [];
  return new Promise((resolve, reject) => {
    const stop = client.onUpdate(
      query,
      args,
      (value) => {
        values.push(value);
        if (passes(value)) {
          setTimeout(() => stop(), 0);
          resolve([...values]); // what comes before the stop takes effect is no part of the answer
        }
      },
      reject,
    );
  });
}
