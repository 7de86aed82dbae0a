import { ActionIcon } from "@mantine/core";
import { many } from "../../lib/words.ts";
import { CheckIcon, CloseIcon, WarningIcon } from "../../parts/icons.tsx";
import type { Upload } from "./uploads.ts";

/** Tells how far the files are on their way to the server, and which did not get there. */
export function UploadTray({ uploads, forget }: { uploads: Upload[]; forget: () => void }) {
  if (uploads.length === 0) return null;
  const failed = uploads.filter((one) => one.state === "failed");
  const done = uploads.filter((one) => one.state === "done").length;
  const isOver = done + failed.length === uploads.length;
  return (
    <section className="tray" aria-label="Uploads">
      <div className="tray-head" role="status">
        {isOver ? failed.length ? <WarningIcon /> : <CheckIcon /> : <span className="spin" />}
        <span>
          {isOver
            ? `${many(done, "file")} sent${failed.length ? `, ${failed.length} refused` : ""}`
            : `Sending ${done + failed.length + 1} of ${uploads.length}`}
        </span>
        {isOver && (
          <ActionIcon variant="subtle" color="gray" size="sm" aria-label="Close the list of uploads" onClick={forget}>
            <CloseIcon size={14} />
          </ActionIcon>
        )}
      </div>
      <span className="thin-bar">
        <span style={{ width: `${((done + failed.length) / uploads.length) * 100}%` }} />
      </span>
      {failed.length > 0 && (
        <ul>
          {failed.map((one) => (
            <li key={one.path}>
              <strong>{one.path}</strong> {one.error}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
