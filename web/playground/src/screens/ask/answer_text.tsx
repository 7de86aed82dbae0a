import { HoverCard } from "@mantine/core";
import { useQuery } from "convex/react";
import { memo } from "react";
import { type Answer, answers, type Passage, type Span } from "../../api/answers.ts";
import { lines } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";
import { hrefOf } from "./passages.tsx";

/** An answer's text as it is written. Pages that are full are read once and never again. */
export function AnswerText({ answer, isWriting }: { answer: Answer; isWriting: boolean }) {
  return (
    <div className="answer-text" aria-busy={isWriting}>
      <Page answer={answer} page={0} isWriting={isWriting} />
    </div>
  );
}

function Page({ answer, page, isWriting }: { answer: Answer; page: number; isWriting: boolean }) {
  const text = useQuery(answers.blocks, { answer: answer._id, page });
  return (
    <>
      {text?.blocks.map((block) => (
        <Block key={block.number} spans={block.spans} answer={answer} />
      ))}
      {text?.full ? (
        <Page answer={answer} page={page + 1} isWriting={isWriting} />
      ) : (
        isWriting && <span className="caret" aria-hidden="true" />
      )}
    </>
  );
}

type BlockProps = { spans: Span[]; answer: Answer };

const Block = memo(
  function Block({ spans, answer }: BlockProps) {
    return spans.map((span, index) =>
      span.passages ? (
        <Citation key={index} numbers={span.passages} answer={answer} />
      ) : (
        <span key={index}>{span.text}</span>
      ),
    );
  },
  (was, is) =>
    was.spans.length === is.spans.length &&
    was.answer.passages === is.answer.passages &&
    textOf(was.spans) === textOf(is.spans),
);

const textOf = (spans: Span[]) => spans.map((span) => span.text).join("");

function Citation({ numbers, answer }: { numbers: number[]; answer: Answer }) {
  return numbers.map((number) => {
    const passage = answer.passages.find((one) => one.number === number);
    return passage ? <Mark key={number} passage={passage} answer={answer} /> : <sup key={number}>{number}</sup>;
  });
}

function Mark({ passage, answer }: { passage: Passage; answer: Answer }) {
  const href = hrefOf(passage);
  const label = `Source ${passage.number}: ${passage.name}, ${lines(passage.firstLine, passage.lastLine)}`;
  return (
    <HoverCard width={380} shadow="lg" openDelay={160} position="top" withinPortal>
      <HoverCard.Target>
        {href === null ? (
          <span className="cite" data-gone aria-label={label} role="note">
            {passage.number}
          </span>
        ) : (
          <a className="cite" href={href} aria-label={label}>
            {passage.number}
          </a>
        )}
      </HoverCard.Target>
      <HoverCard.Dropdown className="cite-card">
        <Cited passage={passage} answer={answer} />
      </HoverCard.Dropdown>
    </HoverCard>
  );
}

/** What a mark points to, read when it is asked for. */
function Cited({ passage, answer }: { passage: Passage; answer: Answer }) {
  const prompt = useQuery(answers.inspect, { answer: answer._id });
  const text = prompt?.passages.find((one) => one.number === passage.number)?.text;
  return (
    <>
      <p className="cite-head">
        <Dot of={passage.source} />
        <strong className="cut">{passage.name}</strong>
        <span className="quiet">{lines(passage.firstLine, passage.lastLine)}</span>
      </p>
      <p className="cite-text">{passage.gone ? "Its source was deleted since." : (text ?? "…")}</p>
    </>
  );
}
