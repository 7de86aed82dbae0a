import { Button, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery } from "convex/react";
import { type Answer, type AnswerRow, answers } from "../../api/answers.ts";
import { useDeed } from "../../lib/deed.ts";
import { useNow } from "../../lib/now.ts";
import { brief, duration, many, money, reasonOf } from "../../lib/words.ts";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { InfoIcon, RetryIcon, StopIcon } from "../../parts/icons.tsx";
import { Facts } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";
import { AnswerText } from "./answer_text.tsx";
import { Inspector } from "./inspector.tsx";
import { Passages } from "./passages.tsx";
import { Timings } from "./timings.tsx";

const OVER = new Set(["done", "stopped", "failed"]);

/** A question and its answer, as far as it is. */
export function AnswerView({ row }: { row: AnswerRow }) {
  const whole = useQuery(answers.get, { answer: row._id });
  const answer = whole ?? { ...row, passages: [] };
  const isOver = OVER.has(answer.state);
  return (
    <article className="answer" aria-label={answer.question} data-state={answer.state}>
      <h2 className="question">{answer.question}</h2>
      {answer.searched != null && answer.searched !== answer.question && (
        <p className="searched">Searched for “{answer.searched}”</p>
      )}
      <Kind answer={answer} />
      {answer.state === "waiting" || answer.state === "searching" ? (
        <UnderWay answer={answer} />
      ) : (
        <AnswerText answer={answer} isWriting={!isOver} />
      )}
      {answer.error && (
        <p className="answer-error" role="alert" data-mild={answer.state !== "failed" || undefined}>
          {answer.error}
        </p>
      )}
      {answer.note && (
        <p className="answer-error" data-mild>
          {answer.note}
        </p>
      )}
      <Passages answer={answer} />
      <Foot answer={answer} isOver={isOver} />
    </article>
  );
}

/** Says honestly what kind of answer it is. */
function Kind({ answer }: { answer: Answer }) {
  if (answer.kind === "extractive") {
    return (
      <Tooltip
        label="The sentences of the sources that fit best, word for word. Set a chat model to have answers written."
        multiline
        w={280}
      >
        <span className="tag" tabIndex={0}>
          extractive, no model was asked
        </span>
      </Tooltip>
    );
  }
  if (answer.kind === "nothing") return <span className="tag">nothing found, no model was asked</span>;
  return null;
}

function UnderWay({ answer }: { answer: Answer }) {
  const now = useNow();
  const waits = answer.nextTry != null && answer.nextTry > now;
  return (
    <p className="under-way" role="status">
      <State of={answer.state} label={waits ? `Again in ${duration(answer.nextTry! - now)}` : undefined} />
      {answer.passages.length > 0 && <span className="quiet">{many(answer.passages.length, "passage")} found</span>}
    </p>
  );
}

function Foot({ answer, isOver }: { answer: Answer; isOver: boolean }) {
  const [isOpen, inspector] = useDisclosure();
  const stop = useMutation(answers.stop);
  const retry = useMutation(answers.retry);
  const remove = useMutation(answers.delete);
  const deed = useDeed(retry);
  return (
    <footer className="answer-foot">
      {isOver && <Timings answer={answer} />}
      <Facts
        of={[
          answer.state === "stopped" && "stopped",
          answer.model,
          isOver && answer.tokensIn > 0 && `${brief(answer.tokensIn)} tokens in, ${brief(answer.tokensOut)} out`,
          answer.cost != null && answer.cost > 0 && money(answer.cost),
          answer.retries > 0 && many(answer.retries, "retry", "retries"),
          deed.error !== null && reasonOf(deed.error),
        ]}
      />
      <span className="answer-acts">
        {!isOver && (
          <Button
            variant="default"
            leftSection={<StopIcon size={13} />}
            onClick={() => void stop({ answer: answer._id })}
          >
            Stop
          </Button>
        )}
        {isOver && (
          <Button
            variant="subtle"
            color="gray"
            leftSection={<RetryIcon size={13} />}
            loading={deed.isRunning}
            onClick={() => void deed.run({ answer: answer._id })}
          >
            {answer.state === "done" ? "Again" : "Retry"}
          </Button>
        )}
        <Button variant="subtle" color="gray" leftSection={<InfoIcon size={13} />} onClick={inspector.open}>
          Inspect
        </Button>
        {isOver && (
          <ConfirmDelete label="Delete this answer" act={() => remove({ answer: answer._id })}>
            Delete this question and its answer?
          </ConfirmDelete>
        )}
      </span>
      <Inspector answer={answer} isOpen={isOpen} close={inspector.close} />
    </footer>
  );
}
