import { useConvex } from "convex/react";
import { useCallback, useState } from "react";
import { sources } from "../../api/sources.ts";
import { reasonOf } from "../../lib/words.ts";
import type { Chosen } from "./files.ts";

export type Upload = { path: string; state: "waiting" | "sending" | "done" | "failed"; error?: string };

const AT_ONCE = 3;

/** Sends files to the server, a few at once; each becomes a source of its own. */
export function useUploads() {
  const convex = useConvex();
  const [uploads, setUploads] = useState<Upload[]>([]);

  const send = useCallback(
    async (files: Chosen[]) => {
      const mark = (path: string, change: Partial<Upload>) =>
        setUploads((all) => all.map((one) => (one.path === path ? { ...one, ...change } : one)));
      setUploads((all) => {
        const paths = new Set(files.map(({ path }) => path));
        const kept = all.filter((one) => one.state !== "done" && !paths.has(one.path));
        return [...kept, ...files.map(({ path }) => ({ path, state: "waiting" as const }))];
      });
      const waiting = [...files];
      const work = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const { path, file } = next;
          mark(path, { state: "sending" });
          try {
            if (file.size === 0) throw new Error("The file is empty.");
            const address = await convex.mutation(sources.uploadUrl, {});
            const type = file.type || "application/octet-stream";
            const answer = await fetch(address, { method: "POST", headers: { "content-type": type }, body: file });
            if (!answer.ok) throw new Error(await refusalOf(answer));
            const { storageId } = (await answer.json()) as { storageId: string };
            const name = path.split("/").at(-1)!;
            await convex.mutation(sources.putFile, { file: storageId, key: path, name });
            mark(path, { state: "done" });
          } catch (error) {
            mark(path, { state: "failed", error: reasonOf(error) });
          }
        }
      };
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, files.length) }, work));
    },
    [convex],
  );

  const forget = useCallback(() => setUploads([]), []);
  return { uploads, send, forget };
}

/** What the server said when it refused a file. */
async function refusalOf(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const told = JSON.parse(text) as { message?: string; error?: string };
    return told.message ?? told.error ?? text;
  } catch {
    return text || `The server refused the file (${answer.status}).`;
  }
}
