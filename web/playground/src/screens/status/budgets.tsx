import { Button, NumberInput, Select } from "@mantine/core";
import { useMutation, useQuery } from "convex/react";
import { type FormEvent, useState } from "react";
import { type Budget, ledger, type Period, type Work } from "../../api/ledger.ts";
import { useDeed } from "../../lib/deed.ts";
import { brief, moment, money, reasonOf } from "../../lib/words.ts";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { Waiting } from "../../parts/small.tsx";
import { WORKS } from "./costs.tsx";
import { Panel } from "./panel.tsx";

const PERIODS: Record<Period, string> = { day: "a day", month: "a month", total: "in all" };

/** Bounds of what is spent; work stops at them, and goes on when they are raised. */
export function Budgets() {
  const budgets = useQuery(ledger.budgets, {});
  return (
    <Panel title="Budgets">
      {budgets === undefined && <Waiting rows={1} />}
      {budgets?.length === 0 && (
        <p className="panel-text">No bound is set. Work that reaches one stops, and goes on as soon as it is raised.</p>
      )}
      {budgets && budgets.length > 0 && (
        <ul className="budgets">
          {budgets.map((budget) => (
            <Line key={`${budget.per}/${budget.work}/${budget.each}`} budget={budget} />
          ))}
        </ul>
      )}
      <Set />
    </Panel>
  );
}

function Line({ budget }: { budget: Budget }) {
  const setBudget = useMutation(ledger.setBudget);
  const { money: bound, tokens, usedMoney, usedTokens } = budget;
  const share = Math.min(1, Math.max(bound ? usedMoney / bound : 0, tokens ? usedTokens / tokens : 0));
  const parts = [
    bound !== null && `${money(usedMoney)} of ${money(bound)}`,
    tokens !== null && `${brief(usedTokens)} of ${brief(tokens)} tokens`,
  ];
  const name = `${budget.work ? WORKS[budget.work] : "All work"}, ${PERIODS[budget.per]}${budget.each ? ", each user" : ""}`;
  const remove = () => setBudget({ per: budget.per, ...(budget.work ? { work: budget.work } : {}) });
  return (
    <li className="budget" data-full={budget.exhausted || undefined}>
      <span className="budget-name">
        {name}
        {!budget.fromCode && (
          <ConfirmDelete label={`Remove the budget: ${name}`} act={remove}>
            Remove this budget?
          </ConfirmDelete>
        )}
      </span>
      <span className="thin-bar" role="progressbar" aria-label={name} aria-valuenow={Math.round(share * 100)}>
        <span style={{ width: `${share * 100}%` }} />
      </span>
      <span className="facts number">
        {parts.filter(Boolean).join(", ")}
        {budget.exhausted &&
          (budget.until === null ? ": stopped until it is raised" : `: stopped until ${moment(budget.until)}`)}
      </span>
    </li>
  );
}

function Set() {
  const setBudget = useMutation(ledger.setBudget);
  const deed = useDeed(setBudget);
  const [per, setPer] = useState<Period>("day");
  const [work, setWork] = useState<Work | null>(null);
  const [tokens, setTokens] = useState<number | string>("");
  const [bound, setBound] = useState<number | string>("");
  const isSet = Number(tokens) > 0 || Number(bound) > 0;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const given = {
      ...(Number(tokens) > 0 ? { tokens: Number(tokens) } : {}),
      ...(Number(bound) > 0 ? { money: Number(bound) } : {}),
      ...(work ? { work } : {}),
    };
    if (!(await deed.run({ per, ...given }))) return;
    setTokens("");
    setBound("");
  };
  return (
    <form className="budget-form" onSubmit={(event) => void submit(event)}>
      <Select
        label="For"
        size="xs"
        placeholder="all work"
        clearable
        data={Object.entries(WORKS).map(([value, label]) => ({ value, label }))}
        value={work}
        onChange={(value) => setWork(value as Work | null)}
      />
      <Select
        label="Per"
        size="xs"
        allowDeselect={false}
        data={Object.entries(PERIODS).map(([value, label]) => ({ value, label }))}
        value={per}
        onChange={(value) => setPer((value ?? "day") as Period)}
      />
      <NumberInput
        label="Tokens"
        size="xs"
        min={0}
        step={10_000}
        thousandSeparator=","
        placeholder="any"
        value={tokens}
        onChange={setTokens}
      />
      <NumberInput
        label="Money"
        size="xs"
        min={0}
        step={0.5}
        prefix="$"
        placeholder="any"
        value={bound}
        onChange={setBound}
      />
      <Button type="submit" variant="default" loading={deed.isRunning} disabled={!isSet}>
        Set
      </Button>
      {deed.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(deed.error)}
        </p>
      )}
    </form>
  );
}
