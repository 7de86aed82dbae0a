import { ActionIcon, Button, Select, TextInput, Tooltip } from "@mantine/core";
import { useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { type FormEvent, useState } from "react";
import { evaluation, type Metrics, type Ranked } from "../../api/evaluation.ts";
import type { Mode } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { useDeed } from "../../lib/deed.ts";
import { reasonOf } from "../../lib/words.ts";
import { CloseIcon } from "../../parts/icons.tsx";
import { More, Waiting } from "../../parts/small.tsx";
import { Panel } from "./panel.tsx";

const MODES: [Mode, string][] = [
  ["hybrid", "Both"],
  ["dense", "By meaning"],
  ["text", "By words"],
];

const CUTOFFS = [1, 5, 10];
const PAGE = 10;

/** How well searches find what is expected: measured live, so that a change of anything is seen at once. */
export function Quality() {
  const questions = usePaginatedQuery(evaluation.ranks, {}, { initialNumItems: PAGE });
  return (
    <Panel title="Quality of searches" isWide>
      {questions.status === "LoadingFirstPage" && <Waiting rows={2} />}
      {questions.status !== "LoadingFirstPage" && questions.results.length === 0 && (
        <p className="panel-text">
          Add questions and the source that should answer each: recall, rank and nDCG are then measured live, and change
          as soon as texts, chunks or models do.
        </p>
      )}
      {questions.results.length > 0 && (
        <>
          <Measures />
          <ul className="golden">
            {questions.results.map((row) => (
              <Line key={row._id} row={row} />
            ))}
          </ul>
          <More status={questions.status} load={() => questions.loadMore(PAGE)} />
        </>
      )}
      <AddQuestion />
    </Panel>
  );
}

function Measures() {
  return (
    <div className="table-box" tabIndex={0} role="group" aria-label="Measures by mode">
      <table className="table number">
        <thead>
          <tr>
            <th>Search</th>
            <th>Questions</th>
            {CUTOFFS.map((k) => (
              <th key={k}>Recall@{k}</th>
            ))}
            <th>MRR</th>
            <th>nDCG@10</th>
          </tr>
        </thead>
        <tbody>
          {MODES.map(([mode, label]) => (
            <Row key={mode} mode={mode} label={label} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ mode, label }: { mode: Mode; label: string }) {
  const measures = useQuery(evaluation.metrics, { options: { mode }, cutoffs: CUTOFFS });
  const cut = (k: number) => measures?.at.find((one) => one.k === k);
  return (
    <tr>
      <td>{label}</td>
      <td>{measures ? told(measures) : "…"}</td>
      {CUTOFFS.map((k) => (
        <td key={k}>{cut(k)?.recall.toFixed(2) ?? "…"}</td>
      ))}
      <td>{measures?.mrr.toFixed(2) ?? "…"}</td>
      <td>{cut(10)?.ndcg.toFixed(2) ?? "…"}</td>
    </tr>
  );
}

function told({ questions, pending, failed }: Metrics): string {
  return [String(questions), pending > 0 && `${pending} coming`, failed > 0 && `${failed} failed`]
    .filter(Boolean)
    .join(", ");
}

function Line({ row }: { row: Ranked }) {
  const remove = useMutation(evaluation.delete);
  const rank = row.measures?.rank;
  return (
    <li>
      <span className="rank-badge number" data-state={rank == null ? "none" : rank === 1 ? "first" : "later"}>
        {row.error ? "failed" : row.measures ? (rank == null ? "not found" : `rank ${rank}`) : "coming"}
      </span>
      <span className="cut">{row.question}</span>
      <span className="facts cut">{row.error ?? row.expected.map((one) => one.key ?? `“${one.text}”`).join(", ")}</span>
      <Tooltip label="Remove">
        <ActionIcon
          variant="subtle"
          color="gray"
          size="sm"
          aria-label={`Remove ${row.question}`}
          onClick={() => void remove({ golden: row._id })}
        >
          <CloseIcon size={14} />
        </ActionIcon>
      </Tooltip>
    </li>
  );
}

function AddQuestion() {
  const put = useMutation(evaluation.put);
  const known = usePaginatedQuery(sources.list, {}, { initialNumItems: 200 });
  const [question, setQuestion] = useState("");
  const [key, setKey] = useState<string | null>(null);
  const deed = useDeed(put);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!question.trim() || !key) return;
    if (await deed.run({ questions: [{ question: question.trim(), expected: [{ key }] }] })) setQuestion("");
  };
  return (
    <form className="golden-form" onSubmit={(event) => void submit(event)}>
      <TextInput
        size="xs"
        label="Question"
        value={question}
        onChange={(event) => setQuestion(event.currentTarget.value)}
      />
      <Select
        size="xs"
        label="Should find"
        searchable
        limit={30}
        placeholder="a source"
        data={known.results.map((source) => ({ value: source.key, label: source.name }))}
        value={key}
        onChange={setKey}
      />
      <Button type="submit" variant="default" loading={deed.isRunning} disabled={!question.trim() || !key}>
        Add
      </Button>
      {deed.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(deed.error)}
        </p>
      )}
    </form>
  );
}
