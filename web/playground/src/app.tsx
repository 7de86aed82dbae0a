import { useDisclosure, useDocumentTitle, useHotkeys } from "@mantine/hooks";
import type { ReactNode } from "react";
import { amend, go, type Screen, usePlace } from "./lib/place.ts";
import { Boundary } from "./parts/boundary.tsx";
import { AskScreen } from "./screens/ask/screen.tsx";
import { CompareScreen } from "./screens/compare/screen.tsx";
import { MapScreen } from "./screens/map/screen.tsx";
import { SearchScreen } from "./screens/search/screen.tsx";
import { SourceScreen } from "./screens/source/screen.tsx";
import { SourcesScreen } from "./screens/sources/screen.tsx";
import { StatusScreen } from "./screens/status/screen.tsx";
import { Help } from "./shell/help.tsx";
import { TITLES } from "./shell/navigation.ts";
import { Missing } from "./shell/missing.tsx";
import { Palette } from "./shell/palette.tsx";
import { useScheme } from "./shell/scheme.tsx";
import { useGoKeys, useRowKeys } from "./shell/shortcuts.ts";
import { Sidebar } from "./shell/sidebar.tsx";

export function App() {
  const { screen, id } = usePlace();
  const [isPaletteOpen, palette] = useDisclosure();
  const [isHelpOpen, help] = useDisclosure();
  const { change } = useScheme();
  useDocumentTitle(`${TITLES[screen].title} · reflow`);
  useGoKeys();
  useRowKeys();
  useHotkeys([
    ["mod+K", palette.toggle, { preventDefault: true }],
    ["/", () => (screen === "search" ? amend({ focus: 1 }) : go("search", null, { focus: 1 }))],
    ["n", () => go("sources", null, { add: 1 })],
    ["shift+?", help.toggle],
    ["d", change],
  ]);
  return (
    <div className="shell">
      <a className="skip" href="#main" onClick={focusMain}>
        Skip to the content
      </a>
      <Sidebar screen={screen} openPalette={palette.open} openHelp={help.open} />
      <main id="main" className="main" tabIndex={-1}>
        <Boundary what="The check of the configuration">
          <Missing />
        </Boundary>
        <Boundary key={`${screen}/${screen === "sources" ? id : ""}`} what={TITLES[screen].title}>
          {shown(screen, id)}
        </Boundary>
      </main>
      <Palette isOpen={isPaletteOpen} close={palette.close} openHelp={help.open} />
      <Help isOpen={isHelpOpen} close={help.close} />
    </div>
  );
}

function focusMain(event: { preventDefault: () => void }) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function shown(screen: Screen, id: string | null): ReactNode {
  switch (screen) {
    case "sources":
      return id ? <SourceScreen key={id} id={id} /> : <SourcesScreen />;
    case "search":
      return <SearchScreen id={id} />;
    case "compare":
      return <CompareScreen id={id} />;
    case "map":
      return <MapScreen />;
    case "ask":
      return <AskScreen id={id} />;
    case "status":
      return <StatusScreen />;
  }
}
