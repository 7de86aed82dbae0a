import { Button } from "@mantine/core";
import { type ChangeEvent, useRef } from "react";
import { FileIcon, FolderIcon } from "../../parts/icons.tsx";
import { type Chosen, chosenFiles } from "./files.ts";

/** Where files and folders are chosen; the whole screen takes them when they are dropped. */
export function AddFiles({ send }: { send: (files: Chosen[]) => void }) {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const chosen = (event: ChangeEvent<HTMLInputElement>) => {
    send(chosenFiles(event.currentTarget.files));
    event.currentTarget.value = "";
  };
  return (
    <div className="drop-box">
      <FileIcon size={26} />
      <p>
        <strong>Drop files or a folder anywhere on this page</strong>
      </p>
      <p className="quiet">
        Text, Markdown, HTML, PDF, DOCX and code. A file of the same path replaces the earlier one.
      </p>
      <div className="drop-buttons">
        <Button
          variant="default"
          leftSection={<FileIcon size={14} />}
          onClick={() => files.current?.click()}
          data-autofocus
        >
          Choose files
        </Button>
        <Button variant="default" leftSection={<FolderIcon size={14} />} onClick={() => folder.current?.click()}>
          Choose a folder
        </Button>
      </div>
      <input ref={files} type="file" multiple hidden onChange={chosen} aria-label="Files" />
      <input
        ref={folder}
        type="file"
        multiple
        hidden
        onChange={chosen}
        aria-label="Folder"
        {...{ webkitdirectory: "" }}
      />
    </div>
  );
}
