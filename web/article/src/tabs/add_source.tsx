import { Button, Group, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "convex/react";
import { type ChangeEvent, type DragEvent, type FormEvent, useMemo, useRef, useState } from "react";
import { api } from "../api.ts";
import { CheckIcon, FileIcon } from "../components/icons.tsx";
import { chunkText } from "../lib/chunking.ts";
import { many, reasonOf } from "../lib/words.ts";

const MOST_FILE_BYTES = 4_000_000;

type Outcome = { text: string; isError: boolean };

/** The form: a name and a text, typed, pasted or taken from dropped files. The text is cut into chunks here. */
export function AddSource() {
  const add = useMutation(api.sources.add);
  const [name, setName] = useState("");
  const [text, setText] = useState("");
  const [isAdding, setAdding] = useState(false);
  const [isOver, setOver] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const nameBox = useRef<HTMLInputElement>(null);
  const chunks = useMemo(() => chunkText(text), [text]);

  const submit = async (sources: { name: string; text: string }[]) => {
    setAdding(true);
    setOutcome(null);
    try {
      for (const source of sources) await add({ name: source.name, chunks: chunkText(source.text) });
      setOutcome({ text: `Added ${sources.map((source) => source.name).join(", ")}`, isError: false });
      return true;
    } catch (error) {
      setOutcome({ text: reasonOf(error), isError: true });
      return false;
    } finally {
      setAdding(false);
    }
  };

  const submitForm = async (event: FormEvent) => {
    event.preventDefault();
    if (!(await submit([{ name: name.trim(), text }]))) return;
    setName("");
    setText("");
    nameBox.current?.focus();
  };

  const takeFiles = async (files: File[]) => {
    const read = await readAll(files);
    if (typeof read === "string") return setOutcome({ text: read, isError: true });
    const [only] = read;
    if (read.length > 1) return void submit(read);
    if (!only) return;
    setOutcome(null);
    setName(only.name);
    setText(only.text);
  };

  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    void takeFiles([...event.dataTransfer.files]);
  };

  const over = (event: DragEvent) => {
    event.preventDefault();
    setOver(true);
  };

  return (
    <form
      className="add-source"
      data-over={isOver || undefined}
      onSubmit={submitForm}
      onDragOver={over}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <Stack gap="sm">
        <TextInput
          ref={nameBox}
          label="Name"
          placeholder="Notes on rivers"
          required
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Textarea
          label="Text"
          placeholder="Paste a text, or drop files anywhere on this form"
          required
          autosize
          minRows={6}
          maxRows={16}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        <Group justify="space-between">
          <FileButton onFiles={takeFiles} />
          <Button type="submit" loading={isAdding} disabled={!name.trim() || chunks.length === 0}>
            {chunks.length === 0 ? "Add source" : `Add ${many(chunks.length, "chunk")}`}
          </Button>
        </Group>
        <Text size="sm" role="status" className="outcome" data-error={outcome?.isError || undefined}>
          {outcome && !outcome.isError && <CheckIcon size={14} />}
          {outcome?.text ?? "It is found by its words at once, and by its meaning as soon as it is embedded."}
        </Text>
      </Stack>
    </form>
  );
}

function FileButton({ onFiles }: { onFiles: (files: File[]) => Promise<void> }) {
  const input = useRef<HTMLInputElement>(null);
  const chosen = (event: ChangeEvent<HTMLInputElement>) => {
    void onFiles([...(event.currentTarget.files ?? [])]);
    event.currentTarget.value = "";
  };
  return (
    <>
      <input ref={input} type="file" multiple hidden onChange={chosen} aria-label="Files" />
      <Button variant="default" leftSection={<FileIcon size={16} />} onClick={() => input.current?.click()}>
        Choose files
      </Button>
    </>
  );
}

/** Read text files; return what is wrong, as a sentence, if one is too large or no text. */
async function readAll(files: File[]): Promise<{ name: string; text: string }[] | string> {
  const sources: { name: string; text: string }[] = [];
  for (const file of files) {
    if (file.size > MOST_FILE_BYTES) return `${file.name} is larger than 4 MB: split it first.`;
    const text = await file.text();
    if (text.includes("\0")) return `${file.name} is no text file.`;
    if (!text.trim()) return `${file.name} is empty.`;
    sources.push({ name: file.name, text });
  }
  return sources;
}
