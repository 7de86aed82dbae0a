import { ActionIcon, Button, Popover, Tooltip } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { useDeed } from "../lib/deed.ts";
import { reasonOf } from "../lib/words.ts";
import { DeleteIcon } from "./icons.tsx";

type ConfirmProps = { label: string; act: () => Promise<unknown>; children: ReactNode };

/** A small delete button that asks first, and says why when it fails. */
export function ConfirmDelete({ label, act, children }: ConfirmProps) {
  const [isOpen, setOpen] = useState(false);
  const deed = useDeed(act);
  return (
    <Popover opened={isOpen} onChange={setOpen} position="bottom-end" trapFocus returnFocus withinPortal>
      <Popover.Target>
        <Tooltip label={label}>
          <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={() => setOpen(!isOpen)}>
            <DeleteIcon size={15} />
          </ActionIcon>
        </Tooltip>
      </Popover.Target>
      <Popover.Dropdown maw={300} className="confirm">
        <div>{children}</div>
        {deed.error !== null && (
          <p role="alert" className="outcome" data-error>
            {reasonOf(deed.error)}
          </p>
        )}
        <div className="confirm-buttons">
          <Button variant="default" onClick={() => setOpen(false)}>
            Keep
          </Button>
          <Button color="red" loading={deed.isRunning} onClick={() => void deed.run()} data-autofocus>
            Delete
          </Button>
        </div>
      </Popover.Dropdown>
    </Popover>
  );
}
