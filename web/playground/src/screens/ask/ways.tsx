// With what questions are asked: which sources, which template, how many passages.
import { Button, MultiSelect, NumberInput, Popover, SegmentedControl, Select } from "@mantine/core";
import { usePaginatedQuery, useQuery } from "convex/react";
import { useMemo, useState } from "react";
import { templates } from "../../api/answers.ts";
import type { Mode, Options } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { many } from "../../lib/words.ts";
import { FilterIcon } from "../../parts/icons.tsx";
import { INSIDE } from "../../parts/popover.ts";

type Choice = { sources: string[]; template: string; limit: number; mode: Mode; kind: "chat" | "extractive" | null };

/** `asked` is what the server is told: only what is unusual. */
export type Ways = Choice & { asked: { template?: string; kind?: "chat" | "extractive"; options: Options } };

const USUAL: Choice = { sources: [], template: "answer", limit: 8, mode: "hybrid", kind: null };

export function useWays(): [Ways, (change: Partial<Choice>) => void] {
  const [choice, setChoice] = useState(USUAL);
  const ways = useMemo(() => {
    const asked: Ways["asked"] = { options: { limit: choice.limit, mode: choice.mode } };
    if (choice.sources.length > 0) asked.options.sources = choice.sources;
    if (choice.template !== USUAL.template) asked.template = choice.template;
    if (choice.kind !== null) asked.kind = choice.kind;
    return { ...choice, asked };
  }, [choice]);
  return [ways, (change) => setChoice((was) => ({ ...was, ...change }))];
}

type AskedWithProps = { ways: Ways; change: (change: Partial<Choice>) => void };

export function AskedWith({ ways, change }: AskedWithProps) {
  const label = [
    ways.sources.length === 0 ? "All sources" : many(ways.sources.length, "source"),
    ways.template !== USUAL.template && ways.template,
    ways.kind === "extractive" && "extractive",
  ];
  return (
    <Popover position="top-start" width={340} trapFocus returnFocus>
      <Popover.Target>
        <Button variant="subtle" color="gray" leftSection={<FilterIcon size={14} />}>
          {label.filter(Boolean).join(", ")}
        </Button>
      </Popover.Target>
      <Popover.Dropdown className="options" maw="calc(100vw - 20px)">
        <Form ways={ways} change={change} />
      </Popover.Dropdown>
    </Popover>
  );
}

function Form({ ways, change }: AskedWithProps) {
  const known = usePaginatedQuery(sources.list, {}, { initialNumItems: 200 });
  const made = useQuery(templates.list, {}) ?? [];
  const usable = made.map((template) => template.name).filter((name) => name !== "condense");
  return (
    <>
      <MultiSelect
        comboboxProps={INSIDE}
        label="From these sources"
        size="xs"
        searchable
        limit={30}
        placeholder={ways.sources.length ? "" : "all"}
        data={known.results.map((source) => ({ value: source.id, label: source.name }))}
        value={ways.sources}
        onChange={(value) => change({ sources: value })}
      />
      <div className="option-row">
        <Select
          comboboxProps={INSIDE}
          label="Template"
          size="xs"
          data={usable}
          allowDeselect={false}
          value={ways.template}
          onChange={(value) => change({ template: value ?? "answer" })}
        />
        <NumberInput
          label="Passages"
          size="xs"
          min={1}
          max={40}
          value={ways.limit}
          onChange={(value) => typeof value === "number" && value > 0 && change({ limit: value })}
        />
      </div>
      <SegmentedControl
        aria-label="How passages are found"
        size="xs"
        fullWidth
        value={ways.mode}
        onChange={(value) => change({ mode: value as Mode })}
        data={[
          { value: "hybrid", label: "Both" },
          { value: "dense", label: "Meaning" },
          { value: "text", label: "Words" },
        ]}
      />
      <SegmentedControl
        aria-label="Who answers"
        size="xs"
        fullWidth
        value={ways.kind ?? "auto"}
        onChange={(value) => change({ kind: value === "extractive" ? "extractive" : null })}
        data={[
          { value: "auto", label: "Chat model, if set" },
          { value: "extractive", label: "Extractive" },
        ]}
      />
    </>
  );
}
