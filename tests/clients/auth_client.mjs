// The official clients sign in: confirmed, refreshed, refused, expired while connected, signed out.
import { ConvexClient, ConvexHttpClient, api, failure, report, until, url } from "./common.mjs";

const [issuer, adminKey] = process.argv.slice(3);
const seen = {};
const { who, sign, asks, claims, secret } = api.signed;
const quiet = { log() {}, logVerbose() {}, warn() {}, error() {} };

async function token(options = {}) {
  const response = await fetch(`${issuer}/token?${new URLSearchParams(options)}`);
  return (await response.json()).token;
}

// A client, who it is now and was, whether it was told to be signed in (each change), and how it was asked for tokens.
function started(fetchToken, options = {}) {
  const client = new ConvexClient(url, { logger: quiet, ...options });
  const names = [];
  const told = [];
  const asked = [];
  client.onUpdate(who, {}, (name) => names.push(name));
  const signIn = (fetcher) =>
    client.setAuth(
      async ({ forceRefreshToken }) => {
        asked.push(forceRefreshToken);
        return fetcher({ forceRefreshToken, turn: asked.length });
      },
      (isAuthenticated) => told.at(-1) === isAuthenticated || told.push(isAuthenticated),
    );
  if (fetchToken) signIn(fetchToken);
  return { client, names, told, asked, signIn };
}

async function when(passes, what) {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    if (passes()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`it never happened: ${what}`);
}

// sign in, call, sign out, sign in as another
{
  const { client, names, told, asked, signIn } = started();
  await when(() => names.length === 1, "nobody");
  signIn(() => token({ subject: "ann" }));
  await when(() => asked.length === 2 && names.at(-1) === "ann", "ann");
  const calls = [await client.mutation(sign, {}), ...(await client.action(asks, {}))];
  client.client.clearAuth(); // as React's provider does it
  await when(() => names.at(-1) === null, "signed out");
  calls.push(await client.mutation(sign, {}));
  signIn(() => token({ subject: "bob" }));
  await when(() => names.at(-1) === "bob", "bob");
  calls.push(await client.mutation(sign, {}));
  seen.signing = { names, told, calls };
  await client.close();
}

// a token is refreshed before it ends; who it is does not change meanwhile
{
  const { client, names, told, asked } = started(() => token({ lifetime: "3" }), { authRefreshTokenLeewaySeconds: 2 });
  await when(() => asked.length >= 4, "two refreshes");
  const result = await client.mutation(sign, {});
  seen.refreshed = { names: names.filter((name) => name !== null), told, asked: asked.slice(0, 4), result };
  await client.close();
}

// a client that is content with its cached token asks for no other
{
  const { client, names, asked } = started(() => token(), { initialAuthTokenReuse: true });
  await when(() => names.at(-1) === "ann", "ann");
  seen.reused = { result: await client.mutation(sign, {}), asked };
  await client.close();
}

// a cached token that has ended is replaced by a new one
{
  const { client, names, told, asked } = started(({ forceRefreshToken }) =>
    token(forceRefreshToken ? {} : { lifetime: "-60" }),
  );
  await when(() => names.at(-1) === "ann", "ann after all");
  seen.stale = { told, asked, result: await client.mutation(sign, {}) };
  await client.close();
}

// tokens that are always refused: the client gives up, and is a client that nobody is signed in to
{
  const { client, names, told, asked } = started(async () => `${await token()}x`);
  await when(() => told.length > 0, "given up");
  seen.refused = { told, attempts: asked.length, result: await client.mutation(sign, {}), names };
  await client.close();
}

// nobody is signed in, says the page
{
  const { client, names, told } = started(async () => null);
  await when(() => told.length > 0 && names.length > 0, "nobody");
  seen.nobody = { told, names, result: await client.mutation(sign, {}) };
  await client.close();
}

// the token ends while connected, earlier than the client believes, and unawares; calls go on
for (const [name, options] of [
  ["expired", { lifetime: "1", age: "1000" }],
  ["ageless", { lifetime: "1", ageless: "1" }],
]) {
  const { client, names, told, asked } = started(({ turn }) => token(turn <= 2 ? options : {}));
  await when(() => asked.length >= 3, `${name}: asked again`);
  const results = await Promise.all([1, 2, 3].map(() => client.mutation(sign, { text: name })));
  await when(() => names.at(-1) === "ann", "ann again");
  seen[name] = { told, asked: asked.slice(0, 3), results, signatures: await client.query(api.signed.signatures, { text: name }) };
  await client.close();
}

// the provider of the tokens is down for a while: nobody is told to be signed out
{
  const { client, names, told } = started();
  await token({ do: "rotate" });
  await token({ do: "down" });
  const shown = token();
  client.setAuth(
    () => shown,
    (isAuthenticated) => told.at(-1) === isAuthenticated || told.push(isAuthenticated),
  );
  let closed = false;
  client.subscribeToConnectionState((state) => (closed ||= state.connectionRetries > 0));
  await when(() => closed, "a connection that is closed");
  const toldMeanwhile = [...told];
  await token({ do: "up" });
  await when(() => names.at(-1) === "ann", "ann once it is up");
  seen.outage = { toldMeanwhile, told };
  await client.close();
}

// an administrator
{
  const { client, names } = started();
  client.client.setAdminAuth(adminKey, { subject: "zoe", issuer, givenName: "Zoe" });
  await when(() => names.at(-1) === "zoe", "zoe");
  seen.admin = { claims: await client.query(claims, {}), secret: await client.query(secret, {}) };
  await client.close();
}

// over HTTP
{
  const client = new ConvexHttpClient(url, { logger: quiet });
  const names = [await client.query(who, {})];
  client.setAuth(await token());
  names.push(await client.query(who, {}), await client.mutation(sign, {}), ...(await client.action(asks, {})));
  const hidden = await failure(client.query(secret, {}));
  client.clearAuth();
  names.push(await client.query(who, {}));
  client.setAuth(`${await token()}x`);
  const forged = JSON.parse((await failure(client.query(who, {}))).message);
  client.setAdminAuth(adminKey, { subject: "zoé", issuer });
  names.push(await client.query(who, {}), await client.query(secret, {}));
  seen.http = { names, hidden: hidden.message, forged: forged.code };
}

report(seen);
