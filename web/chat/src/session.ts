// Who is signed in in this browser: the server keeps that in a cookie, and gives tokens for it.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

export type User = { name: string; team: string };

export type Session = {
  isLoading: boolean;
  user: User | null;
  signIn: (name: string, password: string) => Promise<void>;
  signOut: () => Promise<void>;
  fetchToken: (options: { forceRefreshToken: boolean }) => Promise<string | null>;
};

const LONGEST_PAUSE = 10_000;

/** The windows of a browser share its cookie: what one does with it, the others follow. */
const otherWindows = new BroadcastChannel("session");

export function useSession(): Session {
  const [isLoading, setLoading] = useState(true);
  const [token, setToken] = useState<string | null>(null);
  const latest = useRef({ token });

  const change = useCallback((token: string | null) => {
    latest.current = { token };
    setToken(token);
  }, []);

  // The client takes a failure for the end of its session, or stops altogether: it waits until the server has answered.
  // Who signs in or out meanwhile has the last word.
  const renew = useCallback(async () => {
    const before = latest.current;
    for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      const answer = await post("/session/token").catch(() => null);
      if (latest.current !== before) return latest.current.token;
      if (answer !== null) {
        change(answer.token);
        return answer.token;
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }, [change]);

  useEffect(() => {
    const follow = () => {
      latest.current = { ...latest.current }; // what is asked for already is out of date
      return renew();
    };
    void renew().finally(() => setLoading(false));
    otherWindows.addEventListener("message", follow);
    return () => otherWindows.removeEventListener("message", follow);
  }, [renew]);

  const signIn = useCallback(
    async (name: string, password: string) => {
      change((await post("/session/sign-in", { name, password })).token);
      otherWindows.postMessage("in");
    },
    [change],
  );

  const signOut = useCallback(async () => {
    await post("/session/sign-out");
    change(null);
    otherWindows.postMessage("out");
  }, [change]);

  // A client that asks again has been refused, or its token is about to end. This one is let go only when who is
  // signed in changes: that is what makes the client ask at once.
  const name = token && claimsOf(token).name;
  const fetchToken = useCallback(
    async ({ forceRefreshToken }: { forceRefreshToken: boolean }) => (forceRefreshToken || !token ? await renew() : token),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [name, renew],
  );
  const user = useMemo(() => (token ? claimsOf(token) : null), [token]);
  return { isLoading, user, signIn, signOut, fetchToken };
}

async function post(path: string, body: object = {}): Promise<{ token: string | null }> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

/** What a token says of its holder. It is the server that checks it; the page only shows it. */
function claimsOf(token: string): User {
  const body = token.split(".")[1] ?? "";
  const bytes = Uint8Array.from(atob(body.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const { name, team } = JSON.parse(new TextDecoder().decode(bytes)) as User;
  return { name, team };
}
