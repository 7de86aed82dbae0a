import { SegmentedControl } from "@mantine/core";
import { usePaginatedQuery, useQuery } from "convex/react";
import { useState } from "react";
import { type Entry, ledger, type Period, type Total, type Work } from "../../api/ledger.ts";
import { useNow } from "../../lib/now.ts";
import { ago, brief, count, duration, money } from "../../lib/words.ts";
import { CoinIcon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/empty.tsx";
import { More, Waiting } from "../../parts/small.tsx";
import { Panel } from "./panel.tsx";

export const WORKS: Record<Work, string> = {
  embed: "Embedding",
  search: "Searching",
  answer: "Answering",
  rewrite: "Rewriting",
  rerank: "Reranking",
};

/** What models took, by kind of work. */
export function Costs() {
  const [period, setPeriod] = useState<Period>("total");
  const totals = useQuery(ledger.totals, { period });
  return (
    <Panel
      title="Ledger"
      isWide
      end={
        <SegmentedControl
          size="xs"
          aria-label="Period"
          value={period}
          onChange={(value) => setPeriod(value as Period)}
          data={[
            { value: "day", label: "Today" },
            { value: "month", label: "This month" },
            { value: "total", label: "Ever" },
          ]}
        />
      }
    >
      {totals === undefined && <Waiting rows={2} />}
      {totals?.length === 0 && (
        <Empty icon={CoinIcon} title="Nothing was spent">
          Tokens, time and money of every embedding, search and answer are counted here.
        </Empty>
      )}
      {totals && totals.length > 0 && (
        <>
          <Sums totals={totals} />
          <Table totals={totals} />
          <Latest />
        </>
      )}
    </Panel>
  );
}

function Sums({ totals }: { totals: Total[] }) {
  const sum = (of: (total: Total) => number) => totals.reduce((all, total) => all + of(total), 0);
  const facts: [string, string][] = [
    ["Spent", money(sum((one) => one.cost))],
    ["Tokens", brief(sum((one) => one.tokensIn + one.tokensOut))],
    ["Calls", brief(sum((one) => one.calls))],
    ["From the cache", brief(sum((one) => one.cached))],
    ["Retries", brief(sum((one) => one.retries))],
  ];
  return (
    <dl className="sums number">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Table({ totals }: { totals: Total[] }) {
  return (
    <div className="table-box" tabIndex={0} role="group" aria-label="By work and model">
      <table className="table number">
        <thead>
          <tr>
            <th>Work</th>
            <th>Model</th>
            <th>Calls</th>
            <th>Tokens in</th>
            <th>Tokens out</th>
            <th>Time</th>
            <th>Cost</th>
          </tr>
        </thead>
        <tbody>
          {totals.map((total) => (
            <tr key={`${total.work}/${total.model}`}>
              <td>{WORKS[total.work]}</td>
              <td className="mono">{total.model}</td>
              <td>{count(total.calls)}</td>
              <td>{count(total.tokensIn)}</td>
              <td>{count(total.tokensOut)}</td>
              <td>{duration(total.ms)}</td>
              <td>
                {total.unpriced > 0 ? <span title="This model has no price here">no price</span> : money(total.cost)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const SHOWN = 8;

function Latest() {
  const entries = usePaginatedQuery(ledger.entries, {}, { initialNumItems: SHOWN });
  if (entries.results.length === 0) return null;
  return (
    <details className="latest">
      <summary>Latest entries</summary>
      <ul>
        {entries.results.map((entry) => (
          <Line key={entry.id} entry={entry} />
        ))}
      </ul>
      <More status={entries.status} load={() => entries.loadMore(SHOWN)} />
    </details>
  );
}

function Line({ entry }: { entry: Entry }) {
  const now = useNow();
  return (
    <li className="number">
      <span>{WORKS[entry.work]}</span>
      <span className="cut">{entry.name ?? ""}</span>
      <span className="quiet">{count(entry.tokensIn + entry.tokensOut)} tokens</span>
      <span className="quiet">{duration(entry.ms)}</span>
      <span className="quiet">{entry.cost === null ? "" : money(entry.cost)}</span>
      <span className="quiet">{ago(entry.created, now)}</span>
    </li>
  );
}
