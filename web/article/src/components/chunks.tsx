// Lists of chunks: search results, neighbours, and the plain list to choose from.
import { ActionIcon, Highlight, Skeleton, Text, Tooltip, UnstyledButton } from "@mantine/core";
import { useLayoutEffect, useRef, useState } from "react";
import type { ChunkRow } from "../api.ts";
import { useArrival, useArrivals } from "../lib/arrivals.ts";
import { hashOf } from "../lib/location.ts";
import { placeInFile, withoutName } from "../lib/words.ts";
import { CompareIcon } from "./icons.tsx";

type ChunkListProps = {
  label: string;
  rows: ChunkRow[];
  /** Words to mark in the text. */
  marked?: string[];
  /** How many rows to show until more are asked for. */
  shown?: number;
};

export function ChunkList({ label, rows, marked = [], shown = rows.length }: ChunkListProps) {
  const arrives = useArrivals();
  const [isWhole, setWhole] = useState(false);
  const best = Math.max(...rows.map((row) => row.score ?? 0), Number.EPSILON);
  const hidden = isWhole ? 0 : Math.max(0, rows.length - shown);
  return (
    <>
      <ol className="chunks" aria-label={label}>
        {rows.slice(0, rows.length - hidden).map((row, index) => (
          <Chunk key={row._id} row={row} rank={index + 1} best={best} marked={marked} arrives={arrives} />
        ))}
      </ol>
      {hidden > 0 && (
        <UnstyledButton className="more rest" onClick={() => setWhole(true)}>
          Show {hidden} more
        </UnstyledButton>
      )}
    </>
  );
}

type ChunkProps = { row: ChunkRow; rank: number; best: number; marked: string[]; arrives: boolean };

function Chunk({ row, rank, best, marked, arrives }: ChunkProps) {
  const arrival = useArrival(arrives);
  return (
    <li className="chunk" {...arrival}>
      <span className="rank" aria-hidden="true">
        {rank}
      </span>
      <div className="chunk-body">
        <div className="chunk-head">
          <span className="chunk-name">{row.name ?? row.sourceName}</span>
          <span className="chunk-place">{placeInFile(row.file, row.lines)}</span>
        </div>
        <ChunkText text={withoutName(row.name, row.text)} marked={marked} />
      </div>
      <div className="chunk-end">
        {row.score !== undefined && <Score score={row.score} best={best} />}
        <CompareLink row={row} />
      </div>
    </li>
  );
}

/** A score as a number and as a bar relative to the list's best. */
function Score({ score, best }: { score: number; best: number }) {
  const share = Math.max(0, Math.min(1, score / best));
  return (
    <div className="score" role="img" aria-label={`score ${score.toFixed(3)}`}>
      <span>{score.toFixed(3)}</span>
      <span className="score-bar">
        <span style={{ width: `${share * 100}%` }} />
      </span>
    </div>
  );
}

function CompareLink({ row }: { row: ChunkRow }) {
  const label = `Compare ${row.name ?? row.sourceName}`;
  return (
    <Tooltip label="Compare: find its nearest neighbours" openDelay={300} position="left">
      <ActionIcon
        component="a"
        href={hashOf({ tab: "compare", chunk: row._id })}
        variant="subtle"
        color="gray"
        className="quiet"
        aria-label={label}
      >
        <CompareIcon size={16} />
      </ActionIcon>
    </Tooltip>
  );
}

/** A chunk's text, three lines of it until it is opened. */
export function ChunkText({ text, marked = [] }: { text: string; marked?: string[] }) {
  const [isOpen, setOpen] = useState(false);
  const [isCut, setCut] = useState(false);
  const box = useRef<HTMLParagraphElement>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || isOpen) return;
    const observer = new ResizeObserver(() => setCut(element.scrollHeight > element.clientHeight + 1));
    observer.observe(element);
    return () => observer.disconnect();
  }, [text, isOpen]);
  return (
    <>
      <Highlight
        ref={box}
        component="p"
        highlight={marked}
        highlightStyles={{}}
        size="sm"
        className="chunk-text"
        data-open={isOpen || undefined}
        {...(isOpen ? {} : { lineClamp: 3 })}
      >
        {text}
      </Highlight>
      {(isCut || isOpen) && (
        <UnstyledButton className="more" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? "Show less" : "Show all"}
        </UnstyledButton>
      )}
    </>
  );
}

/** Stands in for rows that are on their way. */
export function ChunkSkeleton({ rows = 3 }: { rows?: number }) {
  return (
    <div className="skeleton" aria-busy="true">
      <Text className="unseen">Loading…</Text>
      {Array.from({ length: rows }, (_, index) => (
        <div key={index}>
          <Skeleton height={12} width="36%" radius="xl" />
          <Skeleton height={10} mt={10} radius="xl" />
          <Skeleton height={10} mt={6} width="78%" radius="xl" />
        </div>
      ))}
    </div>
  );
}
