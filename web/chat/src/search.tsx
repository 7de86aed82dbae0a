import { Button, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useAction, useQuery } from "convex/react";
import { useEffect, useState } from "react";
import { Empty, Problem } from "../../article/src/components/panel.tsx";
import { api } from "./api.ts";
import { Line } from "./messages.tsx";

type Asked = { text: string; vector: number[] };

/** What the team said that is nearest to a question. It is a live query: a better message appears as it is said. */
export function Search({ text, open }: { text: string; open: (channel: string) => void }) {
  const [settled] = useDebouncedValue(text, 250);
  const embed = useAction(api.messages.question);
  const [asked, setAsked] = useState<Asked | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let isWanted = true;
    embed({ text: settled }).then(
      (vector) => isWanted && (setAsked({ text: settled, vector }), setError(null)),
      (failed: unknown) => isWanted && setError(failed),
    );
    return () => {
      isWanted = false;
    };
  }, [settled, embed]);
  const found = useQuery(api.messages.find, asked ?? "skip");

  if (error !== null) return <Problem title="The search failed" error={error} />;
  return (
    <section className="found" aria-label="Found messages" aria-busy={found === undefined}>
      <Text size="sm" c="dimmed">
        Messages of your team that are nearest to “{text}”; the list follows what is said.
      </Text>
      {found?.length === 0 && <Empty title="Nothing was said about this yet">It will appear here when it is.</Empty>}
      <ol aria-label="Found">
        {found?.map(({ message, channel, score }) => (
          <li key={message._id} className="found-row">
            <Line message={message} note={`#${channel} · ${score.toFixed(2)}`} />
            <Button variant="subtle" size="compact-xs" onClick={() => open(message.channel)}>
              Open
            </Button>
          </li>
        ))}
      </ol>
    </section>
  );
}
