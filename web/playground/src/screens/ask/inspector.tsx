import { Drawer } from "@mantine/core";
import { useQuery } from "convex/react";
import { type Answer, answers } from "../../api/answers.ts";
import { brief, duration, lines, money, moment } from "../../lib/words.ts";
import { Dot, Waiting } from "../../parts/small.tsx";
import { PromptView } from "./prompt_view.tsx";

type InspectorProps = { answer: Answer; isOpen: boolean; close: () => void };

/** How an answer came about: what was found, what was sent, what it took. */
export function Inspector({ answer, isOpen, close }: InspectorProps) {
  return (
    <Drawer
      opened={isOpen}
      onClose={close}
      position="right"
      size="lg"
      title="How this answer came about"
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {isOpen && <Content answer={answer} />}
    </Drawer>
  );
}

function Content({ answer }: { answer: Answer }) {
  const prompt = useQuery(answers.inspect, { answer: answer._id });
  return (
    <div className="inspector">
      <Numbers answer={answer} />
      {prompt === undefined && <Waiting />}
      {prompt === null && <p className="quiet">The prompt is not made yet.</p>}
      {prompt && (
        <>
          <h2 className="panel-title">Found</h2>
          <ol className="inspected">
            {prompt.passages.map((passage, index) => (
              <li key={passage.number} data-left-out={index >= prompt.used || undefined}>
                <p>
                  <span className="cite">{passage.number}</span>
                  <Dot of={passage.source} />
                  <strong className="cut">{passage.name}</strong>
                  <span className="quiet number">
                    {lines(passage.firstLine, passage.lastLine)}, score {passage.score.toFixed(3)}
                  </span>
                </p>
                <p className="inspected-text">{passage.text}</p>
              </li>
            ))}
          </ol>
          <h2 className="panel-title">Sent</h2>
          <PromptView prompt={prompt} />
        </>
      )}
    </div>
  );
}

function Numbers({ answer }: { answer: Answer }) {
  const rows: [string, string | null | undefined][] = [
    ["Asked", moment(answer._creationTime)],
    ["Template", answer.template],
    ["Model", answer.model],
    ["Rewriting", answer.condenseMs == null ? undefined : duration(answer.condenseMs)],
    ["Search", answer.searchMs == null ? undefined : duration(answer.searchMs)],
    ["First word", answer.firstTokenMs == null ? undefined : duration(answer.firstTokenMs)],
    ["In all", answer.totalMs == null ? undefined : duration(answer.totalMs)],
    ["Tokens", answer.tokensIn > 0 ? `${brief(answer.tokensIn)} in, ${brief(answer.tokensOut)} out` : undefined],
    ["Cost", answer.cost != null && answer.cost > 0 ? money(answer.cost) : undefined],
    ["Tries", answer.attempts > 1 ? String(answer.attempts) : undefined],
  ];
  return (
    <dl className="numbers number">
      {rows
        .filter(([, value]) => value != null)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
