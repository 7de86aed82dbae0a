import { SegmentedControl } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { CheckIcon, FileIcon, GlobeIcon, TextIcon } from "../../parts/icons.tsx";
import { AddAddress } from "./add_address.tsx";
import { AddFiles } from "./add_files.tsx";
import { AddText } from "./add_text.tsx";
import type { Chosen } from "./files.ts";

type Way = "text" | "files" | "address";

type AddProps = { send: (files: Chosen[]) => void };

/** The three ways by which a source comes in. */
export function Add({ send }: AddProps) {
  const [way, setWay] = useState<Way>("text");
  const [added, setAdded] = useState<string | null>(null);
  const choose = (value: string) => {
    setWay(value as Way);
    setAdded(null);
  };
  return (
    <div className="add">
      <SegmentedControl
        aria-label="Kind of source"
        value={way}
        onChange={choose}
        data={[
          { value: "text", label: labelled(<TextIcon size={14} />, "Text") },
          { value: "files", label: labelled(<FileIcon size={14} />, "Files") },
          { value: "address", label: labelled(<GlobeIcon size={14} />, "Address") },
        ]}
      />
      {way === "text" && <AddText added={setAdded} />}
      {way === "files" && <AddFiles send={send} />}
      {way === "address" && <AddAddress added={setAdded} />}
      <p role="status" className="added">
        {added !== null && (
          <>
            <CheckIcon size={14} /> Added {added}
          </>
        )}
      </p>
    </div>
  );
}

function labelled(icon: ReactNode, text: string) {
  return (
    <span className="labelled">
      {icon}
      {text}
    </span>
  );
}
