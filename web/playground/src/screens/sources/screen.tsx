import { Button, Collapse } from "@mantine/core";
import { useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { type DragEvent, useEffect, useState } from "react";
import { type SourceState, sources } from "../../api/sources.ts";
import { useArrivals } from "../../lib/arrivals.ts";
import { amend, usePlace } from "../../lib/place.ts";
import { count, many } from "../../lib/words.ts";
import { Boundary } from "../../parts/boundary.tsx";
import { Empty } from "../../parts/empty.tsx";
import { CloseIcon, PlusIcon, RetryIcon, SourcesIcon } from "../../parts/icons.tsx";
import { Key, More, Waiting } from "../../parts/small.tsx";
import { Header } from "../../shell/header.tsx";
import { Add } from "./add.tsx";
import { droppedFiles } from "./files.ts";
import { SourceLine } from "./row.tsx";
import "./sources.css";
import { UploadTray } from "./upload_tray.tsx";
import { useUploads } from "./uploads.ts";

const PAGE = 25;

/** All sources, and the ways to add some. */
export function SourcesScreen() {
  const { params } = usePlace();
  const totals = useQuery(sources.totals, {});
  const uploads = useUploads();
  const [isOver, setOver] = useState(false);
  const isEmpty = totals?.sources === 0;
  const isAdding = isEmpty || params.has("add");
  useEffect(() => {
    // What is open because there is nothing stays open when the first source comes.
    if (isEmpty) amend({ add: 1 });
  }, [isEmpty]);
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const files = await droppedFiles(event.dataTransfer);
    if (files.length > 0) await uploads.send(files);
  };
  const over = (event: DragEvent) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    setOver(true);
  };
  return (
    <>
      <Header
        title="Sources"
        note={totals && !isEmpty && `${many(totals.sources, "source")}, ${many(totals.chunks, "chunk")}`}
      >
        {!!totals?.failed && <RetryAll failed={totals.failed} />}
        {!isEmpty &&
          (isAdding ? (
            <Button variant="default" leftSection={<CloseIcon size={14} />} onClick={() => amend({ add: null })}>
              Close
            </Button>
          ) : (
            <Button leftSection={<PlusIcon size={14} />} onClick={() => amend({ add: 1 })}>
              Add
            </Button>
          ))}
      </Header>
      <div
        className="body"
        data-over={isOver || undefined}
        onDragOver={over}
        onDragLeave={(event) => event.currentTarget === event.target && setOver(false)}
        onDrop={(event) => void drop(event)}
      >
        <div className="sheet">
          <Collapse expanded={isAdding} transitionDuration={160} keepMounted={false}>
            <Add send={(files) => void uploads.send(files)} />
          </Collapse>
          <Boundary what="The list of sources">
            <List />
          </Boundary>
        </div>
        {isOver && <div className="drop-veil">Drop to add</div>}
      </div>
      <UploadTray uploads={uploads.uploads} forget={uploads.forget} />
    </>
  );
}

function RetryAll({ failed }: { failed: number }) {
  const retry = useMutation(sources.retryAll);
  return (
    <Button variant="default" leftSection={<RetryIcon size={14} />} onClick={() => void retry({})}>
      Retry {count(failed)} failed
    </Button>
  );
}

const SHOWN: [SourceState | null, string][] = [
  [null, "All"],
  ["ready", "Ready"],
  ["embedding", "Embedding"],
  ["failed", "Failed"],
  ["stopped", "Stopped"],
];

function List() {
  const { params } = usePlace();
  const state = params.get("state") as SourceState | null;
  const rows = usePaginatedQuery(sources.list, state ? { state } : {}, { initialNumItems: PAGE });
  if (rows.status === "LoadingFirstPage") return <Waiting rows={5} />;
  if (rows.results.length === 0 && !state) {
    return (
      <Empty icon={SourcesIcon} title="No sources yet">
        Paste a text above, choose files or a folder, or give an address. It is found by its words at once, and by its
        meaning within seconds.
      </Empty>
    );
  }
  return (
    <>
      <div className="chips" role="group" aria-label="Show">
        {SHOWN.map(([one, label]) => (
          <button
            key={label}
            type="button"
            className="chip"
            aria-pressed={state === one}
            onClick={() => amend({ state: one })}
          >
            {label}
          </button>
        ))}
      </div>
      {rows.results.length === 0 ? (
        <Empty icon={SourcesIcon} title={`No source is ${state}`} />
      ) : (
        <Lines key={state} rows={rows.results} />
      )}
      <More status={rows.status} load={() => rows.loadMore(PAGE)} />
      <p className="hint">
        <Key>J</Key> <Key>K</Key> move, <Key>Enter</Key> opens, <Key>N</Key> adds
      </p>
    </>
  );
}

function Lines({ rows }: { rows: Parameters<typeof SourceLine>[0]["source"][] }) {
  const arrives = useArrivals();
  return (
    <ul className="source-list" aria-label="Sources">
      {rows.map((source) => (
        <SourceLine key={source.id} source={source} arrives={arrives} />
      ))}
    </ul>
  );
}
