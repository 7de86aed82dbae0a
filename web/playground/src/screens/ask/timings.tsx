import { Tooltip } from "@mantine/core";
import type { Answer } from "../../api/answers.ts";
import { duration } from "../../lib/words.ts";

/** Where an answer's time went, as a bar. */
export function Timings({ answer }: { answer: Answer }) {
  const { totalMs } = answer;
  if (totalMs == null) return null;
  const condenseMs = answer.condenseMs ?? 0;
  const searchMs = answer.searchMs ?? 0;
  const first = Math.max(answer.firstTokenMs ?? totalMs, condenseMs + searchMs);
  const parts = [
    { name: "rewriting the question", ms: condenseMs },
    { name: "searching", ms: searchMs },
    { name: "until the first word", ms: Math.max(0, first - condenseMs - searchMs) },
    { name: "writing", ms: Math.max(0, totalMs - first) },
  ].filter((part) => part.ms > 0);
  const told = parts.map((part) => `${part.name} ${duration(part.ms)}`).join(", ");
  return (
    <Tooltip label={told} multiline maw={320}>
      <span className="timings" role="img" aria-label={`${duration(totalMs)}: ${told}`} tabIndex={0}>
        <span className="timings-bar">
          {parts.map((part) => (
            <span key={part.name} style={{ flexGrow: part.ms }} />
          ))}
        </span>
        <span className="number">{duration(totalMs)}</span>
      </span>
    </Tooltip>
  );
}
