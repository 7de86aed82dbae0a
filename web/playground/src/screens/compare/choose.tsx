import { TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useAction, usePaginatedQuery } from "convex/react";
import { useEffect, useState } from "react";
import { type ResultRow, searches } from "../../api/searches.ts";
import { type Chunk, type Source, sources } from "../../api/sources.ts";
import { hashOf } from "../../lib/place.ts";
import { lines, many, reasonOf, withoutHeading } from "../../lib/words.ts";
import { Empty } from "../../parts/empty.tsx";
import { CompareIcon, SearchIcon } from "../../parts/icons.tsx";
import { Dot, More, Waiting } from "../../parts/small.tsx";

const FOUND = 12;

/** Where a walk begins: a chunk that is looked for, or one of a source's. */
export function Choose() {
  const [text, setText] = useState("");
  const [asked] = useDebouncedValue(text.trim(), 180);
  return (
    <div className="sheet choose">
      <TextInput
        aria-label="Find a chunk"
        placeholder="Find a chunk to begin with…"
        data-autofocus
        leftSection={<SearchIcon size={15} />}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {asked ? <Found text={asked} /> : <BySource />}
    </div>
  );
}

function Found({ text }: { text: string }) {
  const find = useAction(searches.find);
  const [rows, setRows] = useState<ResultRow[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let isWanted = true;
    find({ input: text, options: { limit: FOUND } }).then(
      (found) => {
        if (!isWanted) return;
        setRows(found.rows);
        setError(null);
      },
      (reason: unknown) => isWanted && setError(reason),
    );
    return () => {
      isWanted = false;
    };
  }, [find, text]);
  if (error !== null)
    return (
      <p role="alert" className="outcome" data-error>
        {reasonOf(error)}
      </p>
    );
  if (rows === null) return <Waiting />;
  if (rows.length === 0) return <Empty icon={CompareIcon} title="No chunk is found" />;
  return <Cards label="Found chunks" chunks={rows.map((row) => ({ ...row, id: row._id }))} />;
}

const SOURCES = 12;

function BySource() {
  const found = usePaginatedQuery(sources.list, {}, { initialNumItems: SOURCES });
  const withChunks = found.results.filter((source) => source.chunkCount > 0);
  if (found.status === "LoadingFirstPage") return <Waiting />;
  if (withChunks.length === 0) {
    return (
      <Empty
        icon={CompareIcon}
        title="Nothing to compare yet"
        actions={
          <a className="link" href={hashOf("sources", null, { add: 1 })}>
            Add a source
          </a>
        }
      >
        Every chunk of a source can be compared with all others once it is embedded.
      </Empty>
    );
  }
  return (
    <>
      {withChunks.map((source, index) => (
        <OneSource key={source.id} source={source} isOpen={index === 0} />
      ))}
      <More status={found.status} load={() => found.loadMore(SOURCES)} />
    </>
  );
}

function OneSource({ source, isOpen }: { source: Source; isOpen: boolean }) {
  const [isShown, setShown] = useState(isOpen);
  return (
    <details className="choose-source" open={isShown} onToggle={(event) => setShown(event.currentTarget.open)}>
      <summary>
        <Dot of={source.id} />
        <span className="cut">{source.name}</span>
        <span className="quiet">{many(source.chunkCount, "chunk")}</span>
      </summary>
      {isShown && <ItsChunks source={source} />}
    </details>
  );
}

const CHUNKS = 12;

function ItsChunks({ source }: { source: Source }) {
  const chunks = usePaginatedQuery(sources.chunks, { source: source.id }, { initialNumItems: CHUNKS });
  if (chunks.status === "LoadingFirstPage") return <Waiting rows={2} />;
  return (
    <>
      <Cards label={`Chunks of ${source.name}`} chunks={chunks.results} />
      <More status={chunks.status} load={() => chunks.loadMore(CHUNKS)} />
    </>
  );
}

type Card = Pick<Chunk, "id" | "source" | "text" | "headings" | "firstLine" | "lastLine" | "name">;

function Cards({ label, chunks }: { label: string; chunks: Card[] }) {
  return (
    <ul className="cards" aria-label={label}>
      {chunks.map((chunk) => (
        <li key={chunk.id}>
          <a className="card plain" href={hashOf("compare", chunk.id)} data-row>
            <span className="card-head">
              <Dot of={chunk.source} />
              <span className="cut">
                {chunk.name ?? chunk.headings.at(-1) ?? lines(chunk.firstLine, chunk.lastLine)}
              </span>
            </span>
            <span className="card-text">{withoutHeading(chunk.text, chunk.headings)}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
