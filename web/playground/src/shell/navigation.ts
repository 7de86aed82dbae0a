import { AskIcon, CompareIcon, type IconType, MapIcon, SearchIcon, SourcesIcon, StatusIcon } from "../parts/icons.tsx";
import type { Screen } from "../lib/place.ts";

type Entry = { title: string; icon: IconType; what: string };

/** The screens as the page names them. */
export const TITLES: Record<Screen, Entry> = {
  sources: { title: "Sources", icon: SourcesIcon, what: "Texts, files and addresses" },
  search: { title: "Search lab", icon: SearchIcon, what: "By meaning, by words, and both" },
  compare: { title: "Compare", icon: CompareIcon, what: "Walk from chunk to nearest chunk" },
  map: { title: "Map", icon: MapIcon, what: "All chunks by meaning" },
  ask: { title: "Ask", icon: AskIcon, what: "Answers with citations" },
  status: { title: "Status", icon: StatusIcon, what: "Settings, jobs, costs" },
};
