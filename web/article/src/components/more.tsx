import { Button } from "@mantine/core";
import type { PaginationStatus } from "convex/react";

type MoreProps = { status: PaginationStatus; load: () => void };

/** The button under a paginated list; gone when there is nothing more. */
export function More({ status, load }: MoreProps) {
  if (status === "Exhausted" || status === "LoadingFirstPage") return null;
  return (
    <div className="more-row">
      <Button variant="default" size="sm" loading={status === "LoadingMore"} onClick={load}>
        Load more
      </Button>
    </div>
  );
}
