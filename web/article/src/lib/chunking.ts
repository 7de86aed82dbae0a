// Cuts a text into overlapping chunks that respect paragraphs and sentences and know their true lines.
// Every chunk is an exact slice of the text, so what a search shows can be found again in the original.

export type Chunk = { text: string; lines: { from: number; to: number } };

export type ChunkSizes = {
  /** The most characters in a chunk. */
  most: number;
  /** The most characters a chunk repeats from the end of the one before. */
  overlap: number;
};

const DEFAULT_SIZES: ChunkSizes = { most: 800, overlap: 120 };

/** A piece that is never cut: a sentence or line, at most `most` characters. Offsets into the text. */
type Piece = { start: number; end: number; endsParagraph: boolean };

/** Return the chunks of `text` in order; lines count from 1 and include both ends. Blank text has no chunks. */
export function chunkText(text: string, sizes: ChunkSizes = DEFAULT_SIZES): Chunk[] {
  const pieces = piecesOf(text, sizes.most);
  const lineAt = lineFinder(text);
  const chunks: Chunk[] = [];
  let first = 0;
  while (first < pieces.length) {
    const last = lastPieceOf(pieces, first, sizes.most);
    const { start } = pieces[first]!;
    const { end } = pieces[last]!;
    chunks.push({ text: text.slice(start, end), lines: { from: lineAt(start), to: lineAt(end - 1) } });
    first = nextStart(pieces, first, last, sizes);
  }
  return chunks;
}

/** Return the last piece that fits beside `first`, rather one that ends a paragraph if the chunk is half full there. */
function lastPieceOf(pieces: Piece[], first: number, most: number): number {
  const { start } = pieces[first]!;
  let last = first;
  while (last + 1 < pieces.length && pieces[last + 1]!.end - start <= most) last += 1;
  if (last === pieces.length - 1) return last;
  for (let index = last; index > first; index -= 1) {
    const piece = pieces[index]!;
    if (piece.end - start < most / 2) break;
    if (piece.endsParagraph) return index;
  }
  return last;
}

/** Return where the next chunk starts: as far back as the overlap allows and still reaching beyond `last`. */
function nextStart(pieces: Piece[], first: number, last: number, sizes: ChunkSizes): number {
  const following = pieces[last + 1];
  if (!following) return pieces.length;
  let start = last + 1;
  while (start - 1 > first) {
    const earlier = pieces[start - 1]!;
    if (pieces[last]!.end - earlier.start > sizes.overlap || following.end - earlier.start > sizes.most) break;
    start -= 1;
  }
  return start;
}

function piecesOf(text: string, most: number): Piece[] {
  const pieces: Piece[] = [];
  for (const paragraph of text.matchAll(/\S(?:.|\r?\n(?!\s*(?:\n|$)))*/g)) {
    const from = paragraph.index;
    const cuts = [...paragraph[0].matchAll(/(?<=[.!?:;])\s+|\r?\n\s*/g)];
    let start = from;
    for (const cut of cuts) {
      pieces.push(...atMost(text, start, from + cut.index, most));
      start = from + cut.index + cut[0].length;
    }
    pieces.push(...atMost(text, start, from + paragraph[0].trimEnd().length, most));
    const last = pieces.at(-1);
    if (last) last.endsParagraph = true;
  }
  return pieces;
}

/** Cut one stretch into pieces of at most `most` characters, at blanks where there are any. */
function atMost(text: string, start: number, end: number, most: number): Piece[] {
  const pieces: Piece[] = [];
  while (end - start > most) {
    const blank = text.lastIndexOf(" ", start + most);
    const cut = blank > start ? blank : start + most;
    pieces.push({ start, end: cut, endsParagraph: false });
    start = cut;
    while (start < end && /\s/.test(text[start]!)) start += 1;
  }
  if (end > start) pieces.push({ start, end, endsParagraph: false });
  return pieces;
}

/** Return a function that gives the line (from 1) of an offset, by binary search over the line starts. */
function lineFinder(text: string): (offset: number) => number {
  const starts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  };
}
