import { ActionIcon, TextInput } from "@mantine/core";
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { amend } from "../../lib/place.ts";
import { CloseIcon, SearchIcon } from "../../parts/icons.tsx";
import { Key } from "../../parts/small.tsx";

type BoxProps = { input: string; isWanted: boolean; search: (input: string) => void };

/** Where the question is typed. */
export function SearchBox({ input, isWanted, search }: BoxProps) {
  const [text, setText] = useState(input);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => setText(input), [input]);
  useEffect(() => {
    if (!isWanted) return;
    box.current?.select();
    amend({ focus: null });
  }, [isWanted]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) search(text.trim());
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Escape") box.current?.blur();
  };
  return (
    <form role="search" className="search-form" onSubmit={submit}>
      <TextInput
        ref={box}
        type="search"
        aria-label="Search"
        placeholder="What are you looking for?"
        size="sm"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={pressed}
        leftSection={<SearchIcon size={16} />}
        rightSection={
          text ? (
            <ActionIcon
              variant="subtle"
              color="gray"
              size="sm"
              aria-label="Clear"
              onClick={() => {
                setText("");
                box.current?.focus();
              }}
            >
              <CloseIcon size={14} />
            </ActionIcon>
          ) : (
            <Key>/</Key>
          )
        }
      />
    </form>
  );
}
