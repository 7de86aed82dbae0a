import { usePaginatedQuery } from "convex/react";
import { useEffect, useLayoutEffect, useRef } from "react";
import { type AnswerRow, threads } from "../../api/answers.ts";
import { Boundary } from "../../parts/boundary.tsx";
import { Waiting } from "../../parts/small.tsx";
import { AnswerView } from "./answer.tsx";

const PAGE = 40;
/** Nearer to the end than this, one reads along. */
const NEAR_PX = 120;

/** A thread's questions and answers, the newest below; the view follows while one is at the end. */
export function Conversation({ thread }: { thread: string }) {
  const { results, status, loadMore } = usePaginatedQuery(threads.answers, { thread }, { initialNumItems: PAGE });
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (status === "CanLoadMore") loadMore(PAGE);
  }, [status, loadMore]);
  useFollowing(box, results);
  return (
    <div className="body conversation" ref={box} role="log" aria-label="Conversation" tabIndex={0}>
      {status === "LoadingFirstPage" && <Waiting rows={4} />}
      {results.map((answer) => (
        <Boundary key={answer._id} what="This answer">
          <AnswerView row={answer} />
        </Boundary>
      ))}
    </div>
  );
}

function useFollowing(box: { current: HTMLDivElement | null }, results: AnswerRow[]): void {
  const newest = results.at(-1)?._id;
  useLayoutEffect(() => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, [box, newest]);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let isAtEnd = true;
    const scrolled = () => {
      isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
    };
    const observer = new MutationObserver(() => {
      if (isAtEnd) element.scrollTop = element.scrollHeight;
    });
    element.addEventListener("scroll", scrolled, { passive: true });
    observer.observe(element, { childList: true, subtree: true, characterData: true });
    return () => {
      element.removeEventListener("scroll", scrolled);
      observer.disconnect();
    };
  }, [box]);
}
