import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery } from "convex/react";
import { useEffect } from "react";
import { type Source, sources } from "../../api/sources.ts";
import { amend, go, hashOf, usePlace } from "../../lib/place.ts";
import { Empty } from "../../parts/empty.tsx";
import { BackIcon, InfoIcon, SourcesIcon } from "../../parts/icons.tsx";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { Dot, Waiting } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";
import { Header } from "../../shell/header.tsx";
import { Aside } from "./aside.tsx";
import { useContent } from "./content.ts";
import { readLines } from "./layout.ts";
import { Pieces } from "./pieces.tsx";
import "./source.css";
import { SourceText } from "./text.tsx";

/** One source: its text with the chunks it was cut into, and what is known of it. */
export function SourceScreen({ id }: { id: string }) {
  const source = useQuery(sources.get, { source: id });
  if (source === undefined) {
    return (
      <>
        <Header title={<Back />} />
        <Waiting rows={6} />
      </>
    );
  }
  if (source === null) {
    return (
      <>
        <Header title={<Back />} />
        <Empty
          icon={SourcesIcon}
          title="This source is gone"
          actions={
            <Button component="a" href={hashOf("sources")} variant="default">
              All sources
            </Button>
          }
        >
          It was deleted, with its chunks and their vectors.
        </Empty>
      </>
    );
  }
  return <There source={source} />;
}

function Back() {
  return (
    <a className="plain back" href={hashOf("sources")}>
      <BackIcon />
      Sources
    </a>
  );
}

function There({ source }: { source: Source }) {
  const { params } = usePlace();
  const [isAsideOpen, aside] = useDisclosure();
  const remove = useMutation(sources.remove);
  const version = params.has("version") ? Number(params.get("version")) : null;
  const marked = readLines(params.get("lines"));
  const chunkId = params.get("chunk");
  const linked = useQuery(sources.chunk, chunkId && !marked ? { chunk: chunkId } : "skip");
  const content = useContent(source, version, marked?.last ?? linked?.lastLine);
  const at = content.chunks.findIndex((chunk) => chunk.id === chunkId);
  const chosen = at < 0 ? null : at;
  const choose = (place: number) => amend({ chunk: content.chunks[place]?.id, lines: null });
  useEffect(() => {
    if (version !== null && version === source.version) amend({ version: null });
  }, [version, source.version]);
  return (
    <>
      <Header
        title={
          <>
            <Back />
            <span className="slash" aria-hidden="true">
              /
            </span>
            <Dot of={source.id} />
            <span className="cut">{source.name}</span>
          </>
        }
      >
        {source.state !== "ready" && <State of={source.state} />}
        <Button
          variant="default"
          className="phone-only"
          leftSection={<InfoIcon size={14} />}
          onClick={aside.toggle}
          aria-expanded={isAsideOpen}
        >
          Details
        </Button>
        <ConfirmDelete
          label={`Delete ${source.name}`}
          act={() => remove({ source: source.id }).then(() => go("sources"))}
        >
          Delete <strong>{source.name}</strong>, its chunks and their vectors?
        </ConfirmDelete>
      </Header>
      <div className="source-view">
        <section className="body" aria-label="Text" tabIndex={0}>
          <Content
            source={source}
            version={version}
            content={content}
            chosen={chosen}
            marked={marked}
            choose={choose}
          />
        </section>
        <Aside
          source={source}
          version={version}
          chunks={content.chunks}
          chosen={chosen}
          choose={choose}
          isOpen={isAsideOpen}
        />
      </div>
    </>
  );
}

type ContentProps = {
  source: Source;
  version: number | null;
  content: ReturnType<typeof useContent>;
  chosen: number | null;
  marked: { first: number; last: number } | null;
  choose: (at: number) => void;
};

function Content({ source, version, content, chosen, marked, choose }: ContentProps) {
  if (content.isLoading) return <Waiting rows={8} />;
  if (content.lines.length > 0) {
    return (
      <>
        {version !== null && version !== source.version && <Former version={version} source={source} />}
        <SourceText {...content} chosen={chosen} marked={marked} choose={choose} />
      </>
    );
  }
  if (content.chunks.length > 0) return <Pieces chunks={content.chunks} chosen={chosen} choose={choose} />;
  return (
    <Empty icon={SourcesIcon} title={source.state === "reading" ? "Being read" : "No text yet"}>
      {source.error ?? "The text appears here as soon as it is read."}
    </Empty>
  );
}

/** A citation may point to a version that was replaced since. */
function Former({ version, source }: { version: number; source: Source }) {
  return (
    <p className="former">
      <InfoIcon size={15} />
      <span>
        This is version {version}, as it was cited. Searches use version {source.version}.
      </span>
      <button type="button" className="link-button" onClick={() => amend({ version: null, lines: null })}>
        Show version {source.version}
      </button>
    </p>
  );
}
