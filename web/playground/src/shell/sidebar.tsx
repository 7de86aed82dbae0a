import { ActionIcon, Tooltip, UnstyledButton } from "@mantine/core";
import { usePaginatedQuery, useQuery } from "convex/react";
import { searches } from "../api/searches.ts";
import { sources } from "../api/sources.ts";
import { hashOf, SCREENS, type Screen } from "../lib/place.ts";
import { brief, count } from "../lib/words.ts";
import { Boundary } from "../parts/boundary.tsx";
import { KeyboardIcon, Logo, MoreIcon, PinIcon, SearchIcon } from "../parts/icons.tsx";
import { Key } from "../parts/small.tsx";
import { Connection } from "./connection.tsx";
import { TITLES } from "./navigation.ts";
import { SchemeSwitch } from "./scheme.tsx";
import { GO_KEYS } from "./shortcuts.ts";

type SidebarProps = { screen: Screen; openPalette: () => void; openHelp: () => void };

/** The page's left edge (on a phone its lower one): where one can go, and what goes on. */
export function Sidebar({ screen, openPalette, openHelp }: SidebarProps) {
  return (
    <section className="sidebar" aria-label="reflow">
      <div className="brand">
        <Logo />
        <strong>reflow</strong>
        <SchemeSwitch />
      </div>
      <UnstyledButton className="palette-button" onClick={openPalette}>
        <SearchIcon size={15} />
        <span>Search or jump to…</span>
        <Key>Ctrl K</Key>
      </UnstyledButton>
      <nav aria-label="Screens" className="nav">
        {SCREENS.map((one) => (
          <Entry key={one} screen={one} isHere={one === screen} />
        ))}
        <UnstyledButton className="nav-entry nav-more" onClick={openPalette}>
          <MoreIcon size={17} />
          <span>More</span>
        </UnstyledButton>
      </nav>
      <Boundary what="The list of pinned searches">
        <Pinned />
      </Boundary>
      <div className="sidebar-end">
        <Boundary what="The progress of indexing">
          <Indexing />
        </Boundary>
        <div className="sidebar-foot">
          <Connection />
          <Tooltip label="Keyboard shortcuts (?)">
            <ActionIcon variant="subtle" color="gray" aria-label="Keyboard shortcuts" onClick={openHelp}>
              <KeyboardIcon />
            </ActionIcon>
          </Tooltip>
        </div>
      </div>
    </section>
  );
}

function Entry({ screen, isHere }: { screen: Screen; isHere: boolean }) {
  const { title, icon: Icon } = TITLES[screen];
  return (
    <a className="nav-entry" href={hashOf(screen)} aria-current={isHere ? "page" : undefined}>
      <Icon size={17} />
      <span>{title}</span>
      <span className="nav-keys" aria-hidden="true">
        <Key>G</Key>
        <Key>{GO_KEYS[screen].toUpperCase()}</Key>
      </span>
    </a>
  );
}

const PINNED_SHOWN = 6;

function Pinned() {
  const pinned = usePaginatedQuery(searches.history, { pinned: true }, { initialNumItems: PINNED_SHOWN });
  if (pinned.results.length === 0) return null;
  return (
    <section className="pinned" aria-label="Pinned searches">
      <h2>Pinned searches</h2>
      {pinned.results.map((search) => (
        <a key={search._id} className="nav-entry" href={hashOf("search", search._id)} title={search.input}>
          <PinIcon size={14} />
          <span className="cut">{search.name ?? search.input}</span>
        </a>
      ))}
    </section>
  );
}

/** How many chunks there are, and how far the work on them is. */
function Indexing() {
  const totals = useQuery(sources.totals, {});
  if (!totals || totals.chunks === 0) return null;
  const done = totals.chunks - totals.waiting;
  return (
    <a className="indexing plain" href={hashOf("status")} data-running={totals.waiting > 0 || undefined}>
      <span className="number">
        {totals.waiting > 0 ? (
          <>
            Embedding <strong>{count(done)}</strong> of {count(totals.chunks)}
          </>
        ) : (
          <>
            <strong>{brief(totals.chunks)}</strong> chunks from <strong>{brief(totals.sources)}</strong>{" "}
            {totals.sources === 1 ? "source" : "sources"}
          </>
        )}
      </span>
      {totals.waiting > 0 && (
        <span
          className="thin-bar"
          role="progressbar"
          aria-label="Embedded"
          aria-valuenow={Math.round((done / totals.chunks) * 100)}
        >
          <span style={{ width: `${(done / totals.chunks) * 100}%` }} />
        </span>
      )}
      {totals.failed > 0 && (
        <span className="indexing-failed">
          {totals.failed === 1 ? "1 source" : `${count(totals.failed)} sources`} failed
        </span>
      )}
    </a>
  );
}
