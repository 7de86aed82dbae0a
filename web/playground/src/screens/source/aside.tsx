import { Button, CopyButton, Tooltip } from "@mantine/core";
import { useVirtualRows } from "../../lib/virtual_rows.ts";
import type { Chunk, Source } from "../../api/sources.ts";
import { hashOf } from "../../lib/place.ts";
import { count, lines, many, withoutHeading } from "../../lib/words.ts";
import { CompareIcon, LinkIcon } from "../../parts/icons.tsx";
import { Facts } from "../../parts/small.tsx";
import { About } from "./about.tsx";

type AsideProps = {
  source: Source;
  version: number | null;
  chunks: Chunk[];
  chosen: number | null;
  choose: (at: number) => void;
  isOpen: boolean;
};

/** Beside the text: the source's facts, the chosen chunk, and the list of all. */
export function Aside({ source, version, chunks, chosen, choose, isOpen }: AsideProps) {
  const chunk = chosen === null ? null : chunks[chosen];
  return (
    <aside className="source-aside" aria-label="About this source" data-open={isOpen || undefined}>
      <About source={source} version={version} />
      {chunk && <Chosen source={source} chunk={chunk} />}
      {chunks.length > 0 && <ChunkList chunks={chunks} total={source.chunkCount} chosen={chosen} choose={choose} />}
    </aside>
  );
}

function Chosen({ source, chunk }: { source: Source; chunk: Chunk }) {
  const link = `${window.location.origin}/${hashOf("sources", source.id, { chunk: chunk.id })}`;
  return (
    <section className="aside-part" aria-label="Chosen chunk">
      <h2 className="panel-title">
        Chunk {chunk.number + 1}
        {!chunk.embedded && <span className="tag">not embedded yet</span>}
      </h2>
      {chunk.headings.length > 0 && <p className="trail">{chunk.headings.join(" › ")}</p>}
      <Facts
        of={[
          lines(chunk.firstLine, chunk.lastLine),
          chunk.page != null && `page ${chunk.page}`,
          chunk.start != null && `characters ${count(chunk.start)}–${count(chunk.end ?? chunk.start)}`,
        ]}
      />
      {chunk.error && (
        <p className="outcome" data-error>
          {chunk.error}
        </p>
      )}
      <div className="aside-buttons">
        <Button
          component="a"
          href={hashOf("compare", chunk.id)}
          variant="default"
          leftSection={<CompareIcon size={14} />}
        >
          Neighbours
        </Button>
        <CopyButton value={link}>
          {({ copied, copy }) => (
            <Tooltip label="A link to this very chunk">
              <Button variant="default" leftSection={<LinkIcon size={14} />} onClick={copy}>
                {copied ? "Copied" : "Copy link"}
              </Button>
            </Tooltip>
          )}
        </CopyButton>
      </div>
    </section>
  );
}

const ROW_PX = 46;

type ChunkListProps = { chunks: Chunk[]; total: number; chosen: number | null; choose: (at: number) => void };

function ChunkList({ chunks, total, chosen, choose }: ChunkListProps) {
  const rows = useVirtualRows(chunks.length, ROW_PX, chosen);
  return (
    <section className="aside-part aside-list" aria-label="Chunks">
      <h2 className="panel-title">{many(Math.max(total, chunks.length), "chunk")}</h2>
      <div className="chunk-rows" ref={rows.ref} onScroll={rows.scrolled}>
        <div style={{ height: chunks.length * ROW_PX, paddingTop: rows.first * ROW_PX }}>
          {chunks.slice(rows.first, rows.last).map((chunk, index) => {
            const at = rows.first + index;
            return (
              <button
                key={chunk.id}
                type="button"
                className="chunk-row"
                data-row
                aria-current={at === chosen || undefined}
                onClick={() => choose(at)}
              >
                <span className="chunk-row-number number">{chunk.number + 1}</span>
                <span className="chunk-row-body">
                  <span className="cut">
                    {chunk.name ?? withoutHeading(chunk.text.trim(), chunk.headings).slice(0, 80)}
                  </span>
                  <span className="facts cut">
                    {[chunk.headings.at(-1), lines(chunk.firstLine, chunk.lastLine)].filter(Boolean).join(" · ")}
                  </span>
                </span>
              </button>
            );
          })}
        </div>
      </div>
    </section>
  );
}
