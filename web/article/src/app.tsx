import { Tabs } from "@mantine/core";
import { useDocumentTitle, useHotkeys } from "@mantine/hooks";
import { useRef } from "react";
import { EnvironmentGate } from "./components/environment.tsx";
import { Header } from "./components/header.tsx";
import { Boundary } from "./components/panel.tsx";
import { type Tab, usePlace } from "./lib/location.ts";
import { CompareTab } from "./tabs/compare.tsx";
import { SearchTab } from "./tabs/search.tsx";
import { SourcesTab } from "./tabs/sources.tsx";

export function App() {
  const [place, go] = usePlace();
  const box = useRef<HTMLInputElement>(null);
  useDocumentTitle(place.tab === "search" && place.input ? `${place.input} · reflow` : "reflow playground");
  const focusSearch = () => {
    if (place.tab !== "search") go({ tab: "search" });
    // The tab's panel is shown in the next frame; a hidden input takes no focus.
    requestAnimationFrame(() => requestAnimationFrame(() => box.current?.select()));
  };
  useHotkeys([
    ["/", focusSearch],
    ["mod+K", focusSearch],
  ]);
  return (
    <Tabs value={place.tab} onChange={(tab) => go({ tab: tab as Tab })} keepMounted={false} variant="none">
      <Header />
      <main className="width main">
        <Boundary what="The check of the server's settings">
          <EnvironmentGate />
        </Boundary>
        <Tabs.Panel value="search">
          <SearchTab box={box} />
        </Tabs.Panel>
        <Tabs.Panel value="sources">
          <SourcesTab />
        </Tabs.Panel>
        <Tabs.Panel value="compare">
          <CompareTab />
        </Tabs.Panel>
      </main>
    </Tabs>
  );
}
