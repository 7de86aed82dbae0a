// Who is signed in in this browser: the server keeps that in a cookie, and gives tokens for it.
import { useCallback, useEffect, useMemo, useState } from "react";

export type User = { name: string; team: string };

export type Session = {
  isLoading: boolean;
  user: User | null;
  signIn: (name: string, password: string) => Promise<void>;
  signOut: () => Promise<void>;
  fetchToken: (options: { forceRefreshToken: boolean }) => Promise<string | null>;
};

export function useSession(): Session {
  const [isLoading, setLoading] = useState(true);
  const [token, setToken] = useState<string | null>(null);

  const renew = useCallback(async () => {
    const { token } = await post("/session/token");
    setToken(token);
    return token;
  }, []);

  useEffect(() => {
    renew()
      .catch(() => null)
      .finally(() => setLoading(false));
  }, [renew]);

  const signIn = useCallback(async (name: string, password: string) => {
    setToken((await post("/session/sign-in", { name, password })).token);
  }, []);

  const signOut = useCallback(async () => {
    await fetch("/session/sign-out", { method: "POST" });
    setToken(null);
  }, []);

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
