import {
  ActionIcon,
  Group,
  Progress as Bar,
  Tabs,
  Text,
  Title,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { useConvexConnectionState, useQuery } from "convex/react";
import { api, type Progress } from "../api.ts";
import { TABS } from "../lib/location.ts";
import { count, duration, many } from "../lib/words.ts";
import { Logo, MoonIcon, SunIcon } from "./icons.tsx";
import { Boundary } from "./panel.tsx";

const TITLES = { search: "Search", sources: "Sources", compare: "Compare" };

export function Header() {
  return (
    <header className="header">
      <div className="width">
        <div className="header-row">
          <Group gap={10} wrap="nowrap">
            <Logo />
            <Title order={1} size="h4" className="wordmark">
              reflow
            </Title>
          </Group>
          <Tabs.List className="tabs">
            {TABS.map((tab) => (
              <Tabs.Tab key={tab} value={tab}>
                {TITLES[tab]}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          <Group gap="sm" wrap="nowrap" className="header-end">
            <Connection />
            <SchemeSwitch />
          </Group>
        </div>
        <Boundary what="The progress of indexing">
          <Indexing />
        </Boundary>
      </div>
    </header>
  );
}

function Connection() {
  const { isWebSocketConnected, hasEverConnected, connectionRetries } = useConvexConnectionState();
  const [state, label] = isWebSocketConnected
    ? ["live", "Live"]
    : hasEverConnected || connectionRetries > 1
      ? ["lost", "Reconnecting…"]
      : ["connecting", "Connecting…"];
  const hint = isWebSocketConnected
    ? "Connected: what changes on the server appears here by itself"
    : "No connection to the server. The page reconnects by itself.";
  return (
    <Tooltip label={hint} openDelay={300}>
      <Text component="div" size="sm" role="status" className="connection" data-state={state}>
        <span className="dot" />
        {label}
      </Text>
    </Tooltip>
  );
}

function SchemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const isDark = useComputedColorScheme("light") === "dark";
  const label = isDark ? "Switch to light colours" : "Switch to dark colours";
  return (
    <Tooltip label={label} openDelay={300}>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="lg"
        className="quiet"
        aria-label={label}
        onClick={() => setColorScheme(isDark ? "light" : "dark")}
      >
        {isDark ? <SunIcon /> : <MoonIcon />}
      </ActionIcon>
    </Tooltip>
  );
}

function Indexing() {
  const progress = useQuery(api.corpus.progress, {});
  if (!progress || progress.total === 0) return null;
  const running = progress.pending > 0;
  const share = (part: number) => (100 * part) / progress.total;
  return (
    <div className="indexing" data-running={running || undefined}>
      <Text size="sm" component="p" role="status">
        {running ? runningText(progress) : finishedText(progress)}
        {progress.failed > 0 && (
          <>
            {" · "}
            <a href="#/sources" className="failed">
              {count(progress.failed)} failed
            </a>
          </>
        )}
      </Text>
      {running && (
        <Bar.Root size={6} aria-label="Chunks embedded">
          <Bar.Section value={share(progress.embedded)} color="flow" animated aria-label="embedded" />
          <Bar.Section value={share(progress.failed)} color="red" aria-label="failed" />
        </Bar.Root>
      )}
    </div>
  );
}

function runningText(progress: Progress) {
  const done = `${count(progress.embedded)} of ${many(progress.total, "chunk")} embedded`;
  return (
    <>
      <strong>{done}</strong>
      {progress.rate !== null && progress.rate >= 1 && ` · ${count(progress.rate)} chunks/s`}
      {" · already searchable"}
    </>
  );
}

function finishedText(progress: Progress) {
  const { startedAt, finishedAt } = progress;
  return (
    <>
      <strong>{many(progress.embedded, "chunk")}</strong> from {many(progress.sources, "source")} searchable
      {startedAt !== null && finishedAt !== null && ` · indexed in ${duration(finishedAt - startedAt)}`}
    </>
  );
}
