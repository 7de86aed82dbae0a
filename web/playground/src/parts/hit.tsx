// A chunk that was found: where it is from, what it says, how well it fits.
import { ActionIcon, Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import type { ResultRow } from "../api/searches.ts";
import { useArrival } from "../lib/arrivals.ts";
import { hashOf } from "../lib/place.ts";
import { lines, many, withoutHeading } from "../lib/words.ts";
import { ArrowIcon, CompareIcon } from "./icons.tsx";
import { Marked } from "./marked.tsx";
import { Dot } from "./small.tsx";

type HitProps = {
  row: ResultRow;
  rank: number;
  arrives: boolean;
  /** Words to mark. */
  words?: string[];
  /** How many places it went up (down: negative) since the list changed. */
  moved?: number;
  /** Whether the pointer is on the same chunk in another list. */
  isTwin?: boolean;
  /** What stands in place of the chunk's own text. */
  text?: ReactNode;
  /** Where its name leads; the source's text, where nothing else is given. */
  href?: string;
  point?: (chunk: string | null) => void;
  children?: ReactNode;
};

export function Hit({ row, rank, arrives, words = [], moved = 0, isTwin, text, href, point, children }: HitProps) {
  const arrival = useArrival(arrives);
  return (
    <li
      className="hit"
      data-chunk={row._id}
      data-twin={isTwin || undefined}
      {...arrival}
      onPointerEnter={() => point?.(row._id)}
      onPointerLeave={() => point?.(null)}
    >
      <div className="hit-head">
        <span className="hit-rank number">
          {rank}
          {moved !== 0 && (
            <span
              className="hit-moved"
              data-up={moved > 0 || undefined}
              title={`${moved > 0 ? "Up" : "Down"} ${many(Math.abs(moved), "place")}`}
            >
              <ArrowIcon size={11} />
            </span>
          )}
        </span>
        <Dot of={row.source} />
        <a className="hit-name cut" data-row href={href ?? hashOf("sources", row.source, { chunk: row._id })}>
          {row.name ?? row.sourceName}
        </a>
        <span className="hit-place quiet number">
          {row.page == null ? lines(row.firstLine, row.lastLine) : `page ${row.page}`}
        </span>
        <CompareLink row={row} />
        <Score score={row.score} bar={row.bar} />
      </div>
      {(row.headings.length > 0 || row.name != null) && (
        <p className="hit-trail cut">
          {[row.name == null ? null : row.sourceName, ...row.headings].filter(Boolean).join(" › ")}
        </p>
      )}
      <p className="hit-text">{text ?? <Marked text={withoutHeading(row.text, row.headings)} words={words} />}</p>
      {children}
    </li>
  );
}

function CompareLink({ row }: { row: ResultRow }) {
  return (
    <Tooltip label="Nearest neighbours (C)">
      <ActionIcon
        component="a"
        href={hashOf("compare", row._id)}
        variant="subtle"
        color="gray"
        size="sm"
        className="hit-compare"
        aria-label={`Compare ${row.name ?? row.sourceName}, ${lines(row.firstLine, row.lastLine)}`}
      >
        <CompareIcon size={14} />
      </ActionIcon>
    </Tooltip>
  );
}

/** A score as a number and as a bar beside the best one's. */
export function Score({ score, bar }: { score: number; bar: number }) {
  return (
    <span className="score" role="img" aria-label={`score ${score.toFixed(3)}`}>
      <span className="score-bar">
        <span style={{ width: `${Math.max(0, Math.min(1, bar)) * 100}%` }} />
      </span>
      <span className="number">{score.toFixed(3)}</span>
    </span>
  );
}
