import {
  Button,
  Indicator,
  MultiSelect,
  NumberInput,
  Popover,
  SegmentedControl,
  Select,
  Slider,
  Switch,
  Textarea,
} from "@mantine/core";
import { usePaginatedQuery, useQuery } from "convex/react";
import { useState } from "react";
import { searches } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { FilterIcon } from "../../parts/icons.tsx";
import { INSIDE } from "../../parts/popover.ts";
import { unusual, USUAL, type Wishes } from "./filters.ts";

const KINDS = ["text", "markdown", "html", "pdf", "docx", "code"];

type OptionsProps = { wishes: Wishes; change: (wishes: Wishes) => void };

/** The button behind which everything about a search can be set. */
export function OptionsButton({ wishes, change }: OptionsProps) {
  const [isOpen, setOpen] = useState(false);
  const set = unusual(wishes);
  return (
    <Popover opened={isOpen} onChange={setOpen} position="bottom-end" width={400} trapFocus returnFocus>
      <Indicator disabled={set === 0} label={set} size={16} offset={4} color="flow.8">
        <Popover.Target>
          <Button variant="default" size="sm" leftSection={<FilterIcon size={15} />} onClick={() => setOpen(!isOpen)}>
            Options
          </Button>
        </Popover.Target>
      </Indicator>
      <Popover.Dropdown className="options" maw="calc(100vw - 20px)">
        {isOpen && <Form wishes={wishes} change={change} />}
      </Popover.Dropdown>
    </Popover>
  );
}

function Form({ wishes, change }: OptionsProps) {
  const choices = useQuery(searches.choices, {});
  const known = usePaginatedQuery(sources.list, {}, { initialNumItems: 200 });
  const [weight, setWeight] = useState(wishes.weight);
  const set = (part: Partial<Wishes>) => change({ ...wishes, ...part });
  return (
    <>
      <div className="option">
        <span className="option-label" id="weight-label">
          Meaning beside words
        </span>
        <Slider
          aria-labelledby="weight-label"
          thumbLabel="Share of meaning"
          min={0}
          max={1}
          step={0.05}
          value={weight}
          onChange={setWeight}
          onChangeEnd={(value) => set({ weight: value })}
          label={(value) => `${Math.round(value * 100)} % meaning`}
          marks={[{ value: 0, label: "words" }, { value: USUAL.weight }, { value: 1, label: "meaning" }]}
        />
      </div>
      <SegmentedControl
        aria-label="How scores are put together"
        size="xs"
        fullWidth
        value={wishes.method}
        onChange={(value) => set({ method: value as Wishes["method"] })}
        data={[
          { value: "minmax", label: "By scores" },
          { value: "rrf", label: "By ranks (RRF)" },
        ]}
      />
      <div className="option-row">
        <NumberInput
          label="Results"
          size="xs"
          min={1}
          max={100}
          value={wishes.limit}
          onChange={(value) => typeof value === "number" && value > 0 && set({ limit: value })}
        />
        <NumberInput
          label="Least length"
          size="xs"
          min={0}
          step={50}
          value={wishes.minLength}
          onChange={(value) => typeof value === "number" && set({ minLength: value })}
        />
        <NumberInput
          label="Neighbours"
          size="xs"
          min={0}
          max={10}
          value={wishes.around}
          onChange={(value) => typeof value === "number" && set({ around: value })}
        />
      </div>
      <div className="option-row">
        <Select
          comboboxProps={INSIDE}
          label="Category"
          size="xs"
          placeholder="any"
          clearable
          data={choices?.categories ?? []}
          value={wishes.category}
          onChange={(value) => set({ category: value })}
        />
        <MultiSelect
          comboboxProps={INSIDE}
          label="Kinds"
          size="xs"
          placeholder={wishes.kinds.length ? "" : "any"}
          data={KINDS}
          value={wishes.kinds}
          onChange={(value) => set({ kinds: value })}
        />
      </div>
      <MultiSelect
        comboboxProps={INSIDE}
        label="Sources"
        size="xs"
        placeholder={wishes.sources.length ? "" : "all"}
        searchable
        limit={30}
        data={known.results.map((source) => ({ value: source.id, label: source.name }))}
        value={wishes.sources}
        onChange={(value) => set({ sources: value })}
      />
      <NumberInput
        label="Only in the nearest sources"
        description="First the sources that are about it (by their summaries), then their chunks; 0: all"
        size="xs"
        min={0}
        max={50}
        value={wishes.narrow}
        onChange={(value) => typeof value === "number" && set({ narrow: value })}
      />
      {choices && choices.transforms.length > 0 && (
        <Select
          comboboxProps={INSIDE}
          label="Change the question first"
          size="xs"
          placeholder="no"
          clearable
          data={choices.transforms}
          value={wishes.transform}
          onChange={(value) => set({ transform: value })}
        />
      )}
      {choices?.rerank && (
        <Switch
          label="Rank the best again with the reranker"
          size="sm"
          checked={wishes.rerank}
          onChange={(event) => set({ rerank: event.currentTarget.checked })}
        />
      )}
      <Textarea
        label="Filter"
        description={
          choices?.filters.length
            ? `In Pinecone's language, on ${choices.filters.join(", ")}`
            : "In Pinecone's language"
        }
        size="xs"
        autosize
        minRows={1}
        placeholder='{"len(text)": {"$gte": 200}}'
        classNames={{ input: "mono" }}
        defaultValue={wishes.further}
        onBlur={(event) => event.currentTarget.value !== wishes.further && set({ further: event.currentTarget.value })}
      />
      <Button variant="subtle" color="gray" disabled={unusual(wishes) === 0} onClick={() => change(USUAL)}>
        Back to the usual
      </Button>
    </>
  );
}
