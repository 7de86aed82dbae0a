import type { Chunk } from "../../api/sources.ts";
import { lines } from "../../lib/words.ts";

type PiecesProps = { chunks: Chunk[]; chosen: number | null; choose: (at: number) => void };

/** A source that was given in pieces, without a text around them. */
export function Pieces({ chunks, chosen, choose }: PiecesProps) {
  return (
    <ol className="pieces">
      {chunks.map((chunk, at) => (
        <li key={chunk.id} data-chosen={at === chosen || undefined} onClick={() => choose(at)}>
          <p className="piece-head">
            <strong>{chunk.name ?? `Piece ${chunk.number + 1}`}</strong>
            <span className="quiet">{lines(chunk.firstLine, chunk.lastLine)}</span>
          </p>
          <p className="piece-text">{chunk.text}</p>
        </li>
      ))}
    </ol>
  );
}
