import { useQuery } from "convex/react";
import { type ReactNode, useRef } from "react";
import { type Mode, type ResultRow, type Results, type SearchRow, searches } from "../../api/searches.ts";
import { useArrivals } from "../../lib/arrivals.ts";
import { useMoves } from "../../lib/moves.ts";
import { wordsOf } from "../../lib/words.ts";
import { Boundary } from "../../parts/boundary.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Hit } from "../../parts/hit.tsx";
import { InfoIcon, SearchIcon } from "../../parts/icons.tsx";
import { Waiting } from "../../parts/small.tsx";
import { LeftOut, Why } from "./explain.tsx";

export const COLUMNS: Record<Mode, { title: string; note: string }> = {
  hybrid: { title: "Both", note: "meaning and words" },
  dense: { title: "By meaning", note: "nearest vectors" },
  text: { title: "By words", note: "BM25" },
};

type ColumnProps = {
  mode: Mode;
  search: SearchRow;
  isExplained: boolean;
  /** The chunk under the pointer, in any column. */
  pointed: string | null;
  point: (chunk: string | null) => void;
};

/** One way to search, live. */
export function Column(props: ColumnProps) {
  const { mode } = props;
  const { title, note } = COLUMNS[mode];
  return (
    <section className="column" aria-label={title} data-mode={mode}>
      <h2 className="column-title">
        {title} <span>{note}</span>
      </h2>
      <Boundary what={title}>{props.isExplained ? <Explanation {...props} /> : <Found {...props} />}</Boundary>
    </section>
  );
}

function Found(props: ColumnProps) {
  const { mode, search } = props;
  const fresh = useQuery(searches.results, { searchId: search._id, mode });
  // While another version of the search is on its way, the one before stays.
  const last = useRef<Results | null>(null);
  if (fresh) last.current = fresh;
  const results = fresh ?? last.current;
  if (!results) return search.state === "failed" ? <Failed search={search} /> : <Waiting rows={4} />;
  return (
    <>
      {results.error && <Note isBad>{results.error}</Note>}
      {results.note && <Note>{results.note}</Note>}
      {results.stale && <Note>What was reranked has changed since: run the search again.</Note>}
      {results.rows.length === 0 ? (
        <Nothing mode={mode} />
      ) : (
        <Rows {...props} rows={results.rows} textOf={(row) => aroundOf(row, results)} />
      )}
    </>
  );
}

function Explanation(props: ColumnProps) {
  const { mode, search } = props;
  const explained = useQuery(searches.explain, { searchId: search._id, mode });
  if (!explained) return <Waiting rows={4} />;
  if (explained.rows.length === 0) return <Nothing mode={mode} />;
  return (
    <>
      <Rows
        {...props}
        rows={explained.rows}
        whyOf={(row) => <Why row={row} weight={search.options.weight ?? 0.75} mode={mode} />}
      />
      <LeftOut rows={explained.leftOut} />
    </>
  );
}

type RowsProps = ColumnProps & {
  rows: ResultRow[];
  textOf?: (row: ResultRow) => ReactNode;
  whyOf?: (row: ResultRow) => ReactNode;
};

function Rows({ mode, search, rows, pointed, point, textOf, whyOf }: RowsProps) {
  const arrives = useArrivals();
  const moves = useMoves(rows.map((row) => row._id));
  const words = mode === "dense" ? [] : wordsOf(search.input);
  return (
    <ol className="hits" aria-label={`Results ${COLUMNS[mode].title.toLowerCase()}`}>
      {rows.map((row, index) => (
        <Hit
          key={row._id}
          row={row}
          rank={index + 1}
          arrives={arrives}
          words={words}
          moved={moves.get(row._id) ?? 0}
          isTwin={pointed === row._id}
          point={point}
          text={textOf?.(row)}
        >
          {whyOf?.(row)}
        </Hit>
      ))}
    </ol>
  );
}

/** A hit between its neighbours, where they were asked for. */
function aroundOf(row: ResultRow, results: Results): ReactNode {
  const window = row.passage == null ? undefined : results.passages[row.passage];
  const at = window?.text.indexOf(row.text) ?? -1;
  if (!window || at < 0) return undefined;
  return (
    <>
      <span className="quiet">{window.text.slice(0, at)}</span>
      {row.text}
      <span className="quiet">{window.text.slice(at + row.text.length)}</span>
    </>
  );
}

function Note({ children, isBad }: { children: ReactNode; isBad?: boolean }) {
  return (
    <p className="column-note" data-bad={isBad || undefined} role={isBad ? "alert" : undefined}>
      <InfoIcon size={14} />
      <span>{children}</span>
    </p>
  );
}

function Failed({ search }: { search: SearchRow }) {
  return <Note isBad>{search.error ?? "The search failed."}</Note>;
}

function Nothing({ mode }: { mode: Mode }) {
  return (
    <Empty icon={SearchIcon} title={mode === "text" ? "No chunk has these words" : "Nothing is found"}>
      {mode === "text"
        ? "Fewer or simpler words find more; meaning needs no exact word."
        : "No embedded chunk fits the options. Results appear here by themselves as soon as one does."}
    </Empty>
  );
}
