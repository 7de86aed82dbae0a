import { Modal, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { usePaginatedQuery, useQuery } from "convex/react";
import { type KeyboardEvent, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { searches } from "../api/searches.ts";
import { sources } from "../api/sources.ts";
import { go, SCREENS } from "../lib/place.ts";
import { HistoryIcon, type IconType, KeyboardIcon, MoonIcon, PlusIcon, SearchIcon } from "../parts/icons.tsx";
import { Dot, Key } from "../parts/small.tsx";
import { TITLES } from "./navigation.ts";
import { useScheme } from "./scheme.tsx";
import { GO_KEYS } from "./shortcuts.ts";

type Item = { id: string; group: string; label: string; mark: ReactNode; end?: ReactNode; act: () => void };

type PaletteProps = { isOpen: boolean; close: () => void; openHelp: () => void };

/** One field for everything: screens, sources, earlier searches, new searches and questions. */
export function Palette({ isOpen, close, openHelp }: PaletteProps) {
  return (
    <Modal.Root
      opened={isOpen}
      onClose={close}
      padding={0}
      size={620}
      yOffset="14vh"
      centered={false}
      transitionProps={{ duration: 0 }}
    >
      <Modal.Overlay />
      <Modal.Content aria-label="Search or jump to">
        <Modal.Body>{isOpen && <Content close={close} openHelp={openHelp} />}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}

function Content({ close, openHelp }: Omit<PaletteProps, "isOpen">) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const items = useItems(text.trim(), openHelp);
  const list = useRef<HTMLDivElement>(null);
  const chosen = Math.min(at, Math.max(0, items.length - 1));
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  const run = (item: Item | undefined) => {
    if (!item) return;
    close();
    item.act();
  };
  const pressed = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      setAt((chosen + step + items.length) % Math.max(1, items.length));
    } else if (event.key === "Enter" && !event.nativeEvent.isComposing) {
      event.preventDefault();
      run(items[chosen]);
    }
  };
  return (
    <div className="palette">
      <div className="palette-field">
        <SearchIcon size={18} />
        <input
          autoFocus
          data-autofocus
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={items[chosen] ? `palette-${items[chosen].id}` : undefined}
          aria-label="Search or jump to"
          placeholder="Search, ask, or jump to…"
          value={text}
          onKeyDown={pressed}
          onChange={(event) => {
            setText(event.currentTarget.value);
            setAt(0);
          }}
        />
        <Key>Esc</Key>
      </div>
      <div className="palette-list" id="palette-list" role="listbox" aria-label="Choices" ref={list}>
        {items.map((item, index) => (
          <Row
            key={item.id}
            item={item}
            isChosen={index === chosen}
            isFirst={items[index - 1]?.group !== item.group}
            run={() => run(item)}
          />
        ))}
      </div>
    </div>
  );
}

type RowProps = { item: Item; isChosen: boolean; isFirst: boolean; run: () => void };

function Row({ item, isChosen, isFirst, run }: RowProps) {
  return (
    <>
      {isFirst && (
        <div className="palette-group" role="presentation">
          {item.group}
        </div>
      )}
      <UnstyledButton
        id={`palette-${item.id}`}
        role="option"
        aria-selected={isChosen}
        tabIndex={-1}
        className="palette-item"
        onClick={run}
      >
        <span className="palette-mark">{item.mark}</span>
        <span className="cut">{item.label}</span>
        <span className="palette-end">{item.end}</span>
      </UnstyledButton>
    </>
  );
}

const LISTED = 200;
const SHOWN = 6;

function useItems(text: string, openHelp: () => void): Item[] {
  const [asked] = useDebouncedValue(text, 120);
  const known = usePaginatedQuery(sources.list, {}, { initialNumItems: LISTED });
  const past = useQuery(searches.past, asked ? { input: asked, limit: 5 } : "skip");
  const { change } = useScheme();
  return useMemo(() => {
    const fits = (label: string) => label.toLowerCase().includes(text.toLowerCase());
    const items: Item[] = [];
    if (text) {
      items.push(command("find", "Do", `Search for “${text}”`, SearchIcon, () => go("search", null, { q: text })));
      items.push(command("ask", "Do", `Ask “${text}”`, TITLES.ask.icon, () => go("ask", null, { q: text })));
    }
    for (const screen of SCREENS) {
      const { title, icon } = TITLES[screen];
      const keys = (
        <>
          <Key>G</Key>
          <Key>{GO_KEYS[screen].toUpperCase()}</Key>
        </>
      );
      if (fits(title)) items.push({ ...command(screen, "Go to", title, icon, () => go(screen)), end: keys });
    }
    for (const source of known.results.filter((one) => text && fits(`${one.name} ${one.key}`)).slice(0, SHOWN)) {
      items.push({
        id: source.id,
        group: "Sources",
        label: source.name,
        mark: <Dot of={source.id} />,
        end: source.kind,
        act: () => go("sources", source.id),
      });
    }
    for (const search of past ?? []) {
      items.push(command(search._id, "Earlier searches", search.input, HistoryIcon, () => go("search", search._id)));
    }
    const further = [
      command("add", "Actions", "Add a source", PlusIcon, () => go("sources", null, { add: 1 })),
      command("scheme", "Actions", "Change between dark and light", MoonIcon, change),
      command("keys", "Actions", "Show the keyboard shortcuts", KeyboardIcon, openHelp),
    ];
    return [...items, ...further.filter((item) => fits(item.label))];
  }, [text, known.results, past, change, openHelp]);
}

function command(id: string, group: string, label: string, Icon: IconType, act: () => void): Item {
  return { id, group, label, mark: <Icon size={16} />, act };
}
