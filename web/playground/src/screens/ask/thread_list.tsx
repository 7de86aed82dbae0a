import { useMutation, usePaginatedQuery } from "convex/react";
import { type Thread, threads } from "../../api/answers.ts";
import { useNow } from "../../lib/now.ts";
import { go, hashOf } from "../../lib/place.ts";
import { ago, many } from "../../lib/words.ts";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { More } from "../../parts/small.tsx";

const PAGE = 30;

type ThreadListProps = { here: string | null; isOpen: boolean; close: () => void };

/** All conversations, the one that changed last first. */
export function ThreadList({ here, isOpen, close }: ThreadListProps) {
  const list = usePaginatedQuery(threads.list, {}, { initialNumItems: PAGE });
  return (
    <nav className="threads" aria-label="Threads" data-open={isOpen || undefined} onClick={close}>
      {list.status !== "LoadingFirstPage" && list.results.length === 0 && (
        <p className="threads-none">Your questions will be listed here.</p>
      )}
      <ul>
        {list.results.map((thread) => (
          <Line key={thread._id} thread={thread} isHere={thread._id === here} />
        ))}
      </ul>
      <More status={list.status} load={() => list.loadMore(PAGE)} />
    </nav>
  );
}

function Line({ thread, isHere }: { thread: Thread; isHere: boolean }) {
  const now = useNow();
  const remove = useMutation(threads.delete);
  const act = async () => {
    await remove({ thread: thread._id });
    if (isHere) go("ask");
  };
  return (
    <li className="thread">
      <a className="plain" href={hashOf("ask", thread._id)} aria-current={isHere ? "page" : undefined} data-row>
        <span className="cut">{thread.title}</span>
        <span className="facts">
          {many(thread.answers, "answer")} · {ago(thread.updated, now)}
        </span>
      </a>
      <span className="thread-acts" onClick={(event) => event.stopPropagation()}>
        <ConfirmDelete label={`Delete ${thread.title}`} act={act}>
          Delete this thread and its answers?
        </ConfirmDelete>
      </span>
    </li>
  );
}
