import type { ReactNode } from "react";

type PanelProps = { title: string; end?: ReactNode; isWide?: boolean; children: ReactNode };

/** A titled part of the screen. */
export function Panel({ title, end, isWide, children }: PanelProps) {
  return (
    <section className="panel" aria-label={title} data-wide={isWide || undefined}>
      <div className="panel-head">
        <h2 className="panel-title">{title}</h2>
        {end}
      </div>
      {children}
    </section>
  );
}
