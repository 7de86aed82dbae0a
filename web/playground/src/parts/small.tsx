// The smallest pieces of the page: a source's dot, a key, a row of facts, placeholders.
import { Button, Skeleton } from "@mantine/core";
import type { PaginationStatus } from "convex/react";
import { Fragment, type ReactNode } from "react";
import { colourOf } from "../lib/colours.ts";

/** The colour that belongs to a source. */
export function Dot({ of }: { of: string }) {
  return <span className="dot" style={{ background: colourOf(of) }} aria-hidden="true" />;
}

/** A key of the keyboard. */
export function Key({ children }: { children: ReactNode }) {
  return <kbd className="key">{children}</kbd>;
}

/** Short facts in a row, set apart by dots; those that are not there are left out. */
export function Facts({ of }: { of: ReactNode[] }) {
  const there = of.filter((fact) => fact !== null && fact !== undefined && fact !== false && fact !== "");
  return (
    <span className="facts number">
      {there.map((fact, index) => (
        <Fragment key={index}>
          {index > 0 && <span aria-hidden="true"> · </span>}
          <span>{fact}</span>
        </Fragment>
      ))}
    </span>
  );
}

/** Stands in for rows that are on their way. */
export function Waiting({ rows = 4 }: { rows?: number }) {
  return (
    <div className="waiting" aria-busy="true">
      <span className="unseen">Loading…</span>
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} style={{ opacity: 1 - index / (rows + 1) }}>
          <Skeleton height={11} width={`${34 + ((index * 17) % 30)}%`} radius="xl" />
          <Skeleton height={9} mt={10} width={`${70 + ((index * 13) % 26)}%`} radius="xl" />
        </div>
      ))}
    </div>
  );
}

type MoreProps = { status: PaginationStatus; load: () => void };

/** The button under a paginated list; gone when there is nothing more. */
export function More({ status, load }: MoreProps) {
  if (status === "Exhausted" || status === "LoadingFirstPage") return null;
  return (
    <div className="more-row">
      <Button variant="default" loading={status === "LoadingMore"} onClick={load}>
        Load more
      </Button>
    </div>
  );
}
