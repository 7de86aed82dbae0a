import { useCallback, useState } from "react";

/** Run something on the server from a button: whether it runs, and why it failed. */
export function useDeed<Args extends unknown[]>(act: (...args: Args) => Promise<unknown>) {
  const [isRunning, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = useCallback(
    async (...args: Args): Promise<boolean> => {
      setRunning(true);
      setError(null);
      try {
        await act(...args);
        return true;
      } catch (reason) {
        setError(reason);
        return false;
      } finally {
        setRunning(false);
      }
    },
    [act],
  );
  const forget = useCallback(() => setError(null), []);
  return { run, isRunning, error, forget };
}
