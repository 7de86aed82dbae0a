import type { ReactNode } from "react";
import { Boundary } from "../../parts/boundary.tsx";

type PanelProps = { title: string; end?: ReactNode; isWide?: boolean; children: ReactNode };

/** A titled part of the screen that fails alone. */
export function Panel({ title, end, isWide, children }: PanelProps) {
  return (
    <section className="panel" aria-label={title} data-wide={isWide || undefined}>
      <div className="panel-head">
        <h2 className="panel-title">{title}</h2>
        {end}
      </div>
      <Boundary what={title}>{children}</Boundary>
    </section>
  );
}
