import { memo, useEffect, useRef } from "react";
import type { Chunk } from "../../api/sources.ts";
import { useComing } from "../../lib/coming.ts";
import type { Line } from "./layout.ts";

type TextProps = {
  lines: Line[];
  chunks: Chunk[];
  /** The place of the chosen chunk among the chunks. */
  chosen: number | null;
  marked: { first: number; last: number } | null;
  choose: (at: number) => void;
  /** Called when the end comes into view; absent when there is no more. */
  more?: (() => void) | undefined;
};

/** The text with line numbers; beside them, two lanes of bars that show chunks and where they overlap. */
export function SourceText({ lines, chunks, chosen, marked, choose, more }: TextProps) {
  const end = useComing(more);
  const box = useRef<HTMLDivElement>(null);
  const target = marked?.first ?? (chosen === null ? undefined : chunks[chosen]?.firstLine);
  const isThere = target !== undefined && (lines.at(-1)?.number ?? 0) >= target;
  useEffect(() => {
    if (!isThere) return;
    const line = box.current?.querySelector(`[data-line="${target}"]`);
    return line ? keepInView(line) : undefined;
  }, [target, isThere]);
  return (
    <div className="source-text" ref={box} data-choosing={chosen !== null || undefined}>
      {lines.map((line) => (
        <TextLine
          key={line.number}
          line={line}
          chosen={chosen !== null && line.stretches.some((one) => one.chunks.includes(chosen)) ? chosen : null}
          isMarked={marked !== null && line.number >= marked.first && line.number <= marked.last}
          choose={choose}
        />
      ))}
      {more && (
        <div ref={end} className="text-end" aria-busy="true">
          <span className="unseen">Loading…</span>
          <span className="spin" />
        </div>
      )}
    </div>
  );
}

const FRAMES = 12;

/** Lines far away have a guessed height until they are drawn, so the way to one is walked in a few steps. */
function keepInView(line: Element): () => void {
  let left = FRAMES;
  let frame = 0;
  const step = () => {
    line.scrollIntoView({ block: "center" });
    left -= 1;
    if (left > 0) frame = requestAnimationFrame(step);
  };
  step();
  return () => cancelAnimationFrame(frame);
}

type LineProps = { line: Line; chosen: number | null; isMarked: boolean; choose: (at: number) => void };

const TextLine = memo(function TextLine({ line, chosen, isMarked, choose }: LineProps) {
  const covering = [...new Set(line.stretches.flatMap((one) => one.chunks))];
  return (
    <div className="text-line" data-line={line.number} data-marked={isMarked || undefined}>
      <span className="line-number" aria-hidden="true">
        {line.number}
      </span>
      <span className="lanes" aria-hidden="true">
        {covering.map((at) => (
          <span key={at} className="lane" data-lane={at % 2} data-chosen={at === chosen || undefined} />
        ))}
      </span>
      <span className="line-text">
        {line.stretches.map((stretch, index) => (
          <span
            key={index}
            data-overlap={stretch.chunks.length > 1 || undefined}
            data-chosen={(chosen !== null && stretch.chunks.includes(chosen)) || undefined}
            onClick={stretch.chunks.length > 0 ? () => choose(stretch.chunks.at(-1)!) : undefined}
          >
            {stretch.text || "​"}
          </span>
        ))}
      </span>
    </div>
  );
});
