import { Button, Text, Textarea } from "@mantine/core";
import { useMutation, usePaginatedQuery } from "convex/react";
import { type FormEvent, type KeyboardEvent, useLayoutEffect, useRef, useState } from "react";
import { More } from "../../article/src/components/more.tsx";
import { Empty, Problem } from "../../article/src/components/panel.tsx";
import { api, type Channel, type Message } from "./api.ts";
import type { User } from "./session.ts";

const PAGE = 30;
/** So many pixels above the end are still at the end. */
const NEAR = 60;

export function Messages({ channel, user }: { channel: Channel; user: User }) {
  const { results, status, loadMore } = usePaginatedQuery(
    api.messages.page,
    { channel: channel._id },
    { initialNumItems: PAGE },
  );
  const place = useReadingPlace(results, user);
  return (
    <>
      <div className="messages" role="log" aria-label="Conversation" tabIndex={0} {...place}>
        <More status={status} load={() => loadMore(PAGE)} />
        {status === "Exhausted" && results.length === 0 && (
          <Empty title={`Nothing was said in #${channel.name} yet`}>Write the first message below.</Empty>
        )}
        <ol aria-label={`Messages in ${channel.name}`}>
          {[...results].reverse().map((message) => (
            <li key={message._id}>
              <Line message={message} isOwn={message.author === user.name} />
            </li>
          ))}
        </ol>
      </div>
      <Composer channel={channel} />
    </>
  );
}

/** Keeps what is read in its place when older messages come above, and follows new ones for who is at the end. */
function useReadingPlace(results: Message[], user: User) {
  const ref = useRef<HTMLDivElement>(null);
  const below = useRef(0);
  const measure = () => {
    const { scrollHeight, scrollTop } = ref.current!;
    below.current = scrollHeight - scrollTop;
  };
  const newest = results[0];
  const oldest = results.at(-1);
  useLayoutEffect(() => {
    ref.current!.scrollTop = ref.current!.scrollHeight - below.current;
  }, [oldest?._id]);
  useLayoutEffect(() => {
    const { scrollHeight, clientHeight } = ref.current!;
    if (below.current < clientHeight + NEAR || newest?.author === user.name) ref.current!.scrollTop = scrollHeight;
    measure();
  }, [newest?._id, oldest?._id]);
  return { ref, onScroll: measure };
}

/** A time of day, and the day where that is not today. */
function spoken(time: Date): string {
  const isToday = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

type LineProps = { message: Message; isOwn?: boolean; note?: string };

export function Line({ message, isOwn = false, note }: LineProps) {
  const time = new Date(message._creationTime);
  return (
    <div className="line" data-own={isOwn || undefined}>
      <div className="line-head">
        <Text size="sm" fw={600}>
          {message.author}
        </Text>
        <Text size="xs" c="dimmed" component="time" dateTime={time.toISOString()}>
          {spoken(time)}
        </Text>
        {note && (
          <Text size="xs" c="dimmed">
            {note}
          </Text>
        )}
      </div>
      <p>{message.body}</p>
    </div>
  );
}

function Composer({ channel }: { channel: Channel }) {
  const send = useMutation(api.messages.send);
  const [body, setBody] = useState("");
  const [error, setError] = useState<unknown>(null);

  const submit = (event: FormEvent | KeyboardEvent) => {
    event.preventDefault();
    if (!body.trim()) return;
    setBody("");
    send({ channel: channel._id, body }).then(
      () => setError(null),
      (failed: unknown) => {
        setError(failed);
        setBody(body);
      },
    );
  };

  return (
    <form className="composer" onSubmit={submit} aria-label="New message">
      {error !== null && <Problem title="The message was not sent" error={error} />}
      <Textarea
        aria-label={`Message to ${channel.name}`}
        placeholder={`Message #${channel.name}`}
        autosize
        maxRows={8}
        autoFocus
        value={body}
        onChange={(event) => setBody(event.target.value)}
        onKeyDown={(event) => event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing && submit(event)}
      />
      <Button type="submit" disabled={!body.trim()}>
        Send
      </Button>
    </form>
  );
}
