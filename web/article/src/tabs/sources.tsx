import { ActionIcon, Badge, Button, Group, Loader, Popover, Text } from "@mantine/core";
import { useMutation, usePaginatedQuery } from "convex/react";
import { type ReactNode, useState } from "react";
import { api, type SourceRow } from "../api.ts";
import { ChunkSkeleton } from "../components/chunks.tsx";
import { CheckIcon, DeleteIcon, RetryIcon, WarningIcon } from "../components/icons.tsx";
import { More } from "../components/more.tsx";
import { Empty, Panel } from "../components/panel.tsx";
import { useArrival, useArrivals } from "../lib/arrivals.ts";
import { count, many, reasonOf, withoutName } from "../lib/words.ts";
import { AddSource } from "./add_source.tsx";

const PAGE = 10;

export function SourcesTab() {
  return (
    <div className="sources">
      <Panel title="Add a source">
        <AddSource />
      </Panel>
      <Panel title="Sources" note="newest first">
        <Table />
      </Panel>
    </div>
  );
}

function Table() {
  const sources = usePaginatedQuery(api.sources.paginate, {}, { initialNumItems: PAGE });
  if (sources.status === "LoadingFirstPage") return <ChunkSkeleton rows={5} />;
  if (sources.results.length === 0) {
    return <Empty title="No sources yet">Paste a text or drop a file into the form: it is searchable within seconds.</Empty>;
  }
  return (
    <>
      <SourceList rows={sources.results} />
      <More status={sources.status} load={() => sources.loadMore(PAGE)} />
    </>
  );
}

function SourceList({ rows }: { rows: SourceRow[] }) {
  const arrives = useArrivals();
  return (
    <ul className="source-list" aria-label="Sources">
      {rows.map((source) => (
        <Source key={source._id} source={source} arrives={arrives} />
      ))}
    </ul>
  );
}

function Source({ source, arrives }: { source: SourceRow; arrives: boolean }) {
  const arrival = useArrival(arrives);
  const facts = [many(source.chunkCount, "chunk")];
  if (source.totalTokens) facts.push(`${count(source.totalTokens)} tokens`);
  return (
    <li className="source" data-state={source.state} {...arrival}>
      <div className="source-body">
        <div className="chunk-head">
          <span className="chunk-name">{source.name}</span>
          <span className="chunk-place">{facts.join(" · ")}</span>
        </div>
        <Text size="sm" component="p" className="chunk-text" lineClamp={3}>
          {withoutName(source.name, source.firstChunkText) || "no text"}
        </Text>
        {source.state === "failed" && <Failure source={source} />}
      </div>
      <div className="source-end">
        <State source={source} />
        <Delete source={source} />
      </div>
    </li>
  );
}

function State({ source }: { source: SourceRow }) {
  switch (source.state) {
    case "saved":
      return (
        <Badge variant="light" color="flow" leftSection={<CheckIcon size={12} />} className="state">
          Saved
        </Badge>
      );
    case "failed":
      return (
        <Badge variant="light" color="red" leftSection={<WarningIcon size={12} />} className="state">
          Failed
        </Badge>
      );
    case "pending":
      return (
        <Badge variant="light" color="blue" leftSection={<Loader size={10} color="blue" />} className="state">
          Embedding…
        </Badge>
      );
  }
}

function Failure({ source }: { source: SourceRow }) {
  const retry = useMutation(api.sources.retry);
  return (
    <Deed label="Retry" icon={<RetryIcon size={14} />} act={() => retry({ id: source._id })}>
      {source.error ?? "Embedding failed for a reason the server did not give."}
    </Deed>
  );
}

function Delete({ source }: { source: SourceRow }) {
  const remove = useMutation(api.sources.delete);
  const [isOpen, setOpen] = useState(false);
  return (
    <Popover opened={isOpen} onChange={setOpen} position="bottom-end" withArrow shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <ActionIcon variant="subtle" color="red" aria-label={`Delete ${source.name}`} onClick={() => setOpen(!isOpen)}>
          <DeleteIcon size={16} />
        </ActionIcon>
      </Popover.Target>
      <Popover.Dropdown maw={280}>
        <Deed label="Delete" color="red" act={() => remove({ id: source._id })} isPlain>
          Delete <strong>{source.name}</strong>, its {many(source.chunkCount, "chunk")} and their vectors?
        </Deed>
      </Popover.Dropdown>
    </Popover>
  );
}

type DeedProps = {
  label: string;
  act: () => Promise<unknown>;
  children: ReactNode;
  icon?: ReactNode;
  color?: string;
  /** Said as a question rather than as something that went wrong. */
  isPlain?: boolean;
};

/** A sentence and the button that does something about it; says why when that fails. */
function Deed({ label, act, children, icon, color = "red", isPlain }: DeedProps) {
  const [isActing, setActing] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = async () => {
    setActing(true);
    setError(null);
    try {
      await act();
    } catch (reason) {
      setError(reason);
    } finally {
      setActing(false);
    }
  };
  return (
    <Group gap="sm" mt={isPlain ? 0 : 8} align="center">
      <Text size="sm" className={isPlain ? undefined : "failure"}>
        {children}
      </Text>
      <Button
        size="compact-sm"
        variant={isPlain ? "filled" : "light"}
        color={color}
        loading={isActing}
        leftSection={icon}
        onClick={run}
        data-autofocus
      >
        {label}
      </Button>
      {error !== null && (
        <Text size="sm" c="red" role="alert">
          {reasonOf(error)}
        </Text>
      )}
    </Group>
  );
}
