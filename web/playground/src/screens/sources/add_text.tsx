import { Autocomplete, Button, Select, Textarea, TextInput } from "@mantine/core";
import { getHotkeyHandler } from "@mantine/hooks";
import { useMutation, useQuery } from "convex/react";
import { type FormEvent, useRef, useState } from "react";
import { searches } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { useDeed } from "../../lib/deed.ts";
import { reasonOf } from "../../lib/words.ts";
import { Key } from "../../parts/small.tsx";

const KINDS = [
  { value: "text", label: "Plain text" },
  { value: "markdown", label: "Markdown" },
  { value: "code", label: "Code" },
  { value: "html", label: "HTML" },
];

/** The form for a text that is typed or pasted. */
export function AddText({ added }: { added: (name: string) => void }) {
  const put = useMutation(sources.put);
  const choices = useQuery(searches.choices, {});
  const [name, setName] = useState("");
  const [text, setText] = useState("");
  const [kind, setKind] = useState("text");
  const [category, setCategory] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const deed = useDeed(put);
  const called = name.trim() || titleOf(text);
  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    if (!text.trim() || deed.isRunning) return;
    const further = category.trim() ? { category: category.trim() } : {};
    if (!(await deed.run({ key: called, name: called, text, kind, ...further }))) return;
    setName("");
    setText("");
    added(called);
    box.current?.focus();
  };
  return (
    <form className="add-form" onSubmit={submit} onKeyDown={getHotkeyHandler([["mod+Enter", () => void submit()]])}>
      <Textarea
        ref={box}
        aria-label="Text"
        placeholder="Paste or type a text…"
        data-autofocus
        autosize
        minRows={8}
        maxRows={18}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <div className="add-fields">
        <TextInput
          label="Name"
          placeholder={titleOf(text) || "Notes on rivers"}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Select
          label="Kind"
          data={KINDS}
          value={kind}
          allowDeselect={false}
          onChange={(value) => setKind(value ?? "text")}
        />
        <Autocomplete
          label="Category"
          placeholder="none"
          data={choices?.categories ?? []}
          value={category}
          onChange={setCategory}
        />
      </div>
      {deed.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(deed.error)}
        </p>
      )}
      <div className="add-end">
        <span className="outcome">Found by its words at once, by its meaning a moment later.</span>
        <Button
          type="submit"
          size="sm"
          loading={deed.isRunning}
          disabled={!text.trim()}
          rightSection={<Key>Ctrl Enter</Key>}
        >
          Add text
        </Button>
      </div>
    </form>
  );
}

const TITLE_LENGTH = 60;

/** The first line of a text, as its name. */
function titleOf(text: string): string {
  const line = text.split("\n").find((one) => one.trim()) ?? "";
  return line
    .replace(/^#+\s*/, "")
    .trim()
    .slice(0, TITLE_LENGTH);
}
