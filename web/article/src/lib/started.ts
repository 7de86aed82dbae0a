import { useCallback, useEffect, useState } from "react";

type Started = { key: string; id: string | null; error: unknown };

/**
 * Start something on the server once per key (a mutation that returns an id) and return its id when it is there.
 * An empty key starts nothing. An answer that arrives after the key changed is dropped.
 */
export function useStarted(key: string, start: (key: string) => Promise<string>) {
  const [started, setStarted] = useState<Started>({ key: "", id: null, error: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!key) return;
    let isWanted = true;
    start(key).then(
      (id) => isWanted && setStarted({ key, id, error: null }),
      (error: unknown) => isWanted && setStarted({ key, id: null, error }),
    );
    return () => {
      isWanted = false;
    };
    // `start` closes over nothing but the client: the key alone says what is started.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [key, attempt]);
  const again = useCallback(() => {
    setStarted({ key: "", id: null, error: null });
    setAttempt((count) => count + 1);
  }, []);
  const isCurrent = started.key === key;
  return { id: isCurrent ? started.id : null, error: isCurrent ? started.error : null, again };
}
