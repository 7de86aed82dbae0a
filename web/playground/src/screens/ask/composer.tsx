import { ActionIcon, Textarea, Tooltip } from "@mantine/core";
import { type FormEvent, type KeyboardEvent, type ReactNode, useState } from "react";
import { SendIcon } from "../../parts/icons.tsx";

type ComposerProps = { isAsking: boolean; ask: (question: string) => Promise<boolean>; children: ReactNode };

/** Where a question is typed: Enter asks, Shift and Enter begins a new line. */
export function Composer({ isAsking, ask, children }: ComposerProps) {
  const [text, setText] = useState("");
  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    const question = text.trim();
    if (!question || isAsking) return;
    setText("");
    // What could not be asked is not lost.
    if (!(await ask(question))) setText(question);
  };
  const pressed = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key === "Escape") event.currentTarget.blur();
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void submit();
  };
  return (
    <form className="composer" onSubmit={(event) => void submit(event)}>
      <Textarea
        aria-label="Question"
        placeholder="Ask a question…"
        variant="unstyled"
        autosize
        minRows={1}
        maxRows={8}
        autoFocus
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={pressed}
      />
      <div className="composer-end">
        {children}
        <Tooltip label="Ask (Enter)">
          <ActionIcon type="submit" size="lg" radius="md" aria-label="Ask" loading={isAsking} disabled={!text.trim()}>
            <SendIcon />
          </ActionIcon>
        </Tooltip>
      </div>
    </form>
  );
}
