import type { ReactNode } from "react";

type HeaderProps = { title: ReactNode; note?: ReactNode; children?: ReactNode };

/** The bar above a screen: what it shows, and what can be done with it. */
export function Header({ title, note, children }: HeaderProps) {
  return (
    <header className="header">
      <h1 className="header-title">{title}</h1>
      {note && <div className="header-note">{note}</div>}
      <div className="header-end">{children}</div>
    </header>
  );
}
