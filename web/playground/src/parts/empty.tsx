import type { ReactNode } from "react";
import type { IconType } from "./icons.tsx";

type EmptyProps = { icon: IconType; title: string; children?: ReactNode; actions?: ReactNode };

/** An honest empty state: what there is not, and what to do next. */
export function Empty({ icon: Icon, title, children, actions }: EmptyProps) {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon size={22} />
      </span>
      <p className="empty-title">{title}</p>
      {children && <div className="empty-text">{children}</div>}
      {actions && <div className="empty-actions">{actions}</div>}
    </div>
  );
}
