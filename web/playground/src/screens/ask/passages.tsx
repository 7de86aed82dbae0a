import type { Answer, Passage } from "../../api/answers.ts";
import { hashOf } from "../../lib/place.ts";
import { lines, many } from "../../lib/words.ts";
import { Dot } from "../../parts/small.tsx";

/** Where a passage can be read: in the version it was cited from. Null when its source is gone. */
export function hrefOf(passage: Passage): string | null {
  if (passage.gone) return null;
  return hashOf("sources", passage.source, {
    version: passage.version,
    chunk: passage.chunk,
    lines: `${passage.firstLine}-${passage.lastLine}`,
  });
}

/** What an answer was written from: the passages that it cites, then the others. */
export function Passages({ answer }: { answer: Answer }) {
  if (answer.passages.length === 0 || answer.state === "searching") return null;
  const cited = answer.passages.filter((passage) => answer.cited.includes(passage.number));
  const others = answer.passages.filter((passage) => !answer.cited.includes(passage.number));
  return (
    <div className="passages">
      {cited.length > 0 && <Cards passages={cited} label="Cited" />}
      {others.length > 0 && (
        <details>
          <summary>
            {cited.length > 0 ? `${many(others.length, "passage")} not cited` : many(others.length, "passage")}
          </summary>
          <Cards passages={others} label="Not cited" />
        </details>
      )}
    </div>
  );
}

function Cards({ passages, label }: { passages: Passage[]; label: string }) {
  return (
    <ul className="passage-cards" aria-label={label}>
      {passages.map((passage) => (
        <li key={passage.number}>
          <Card passage={passage} />
        </li>
      ))}
    </ul>
  );
}

function Card({ passage }: { passage: Passage }) {
  const href = hrefOf(passage);
  const content = (
    <>
      <span className="cite">{passage.number}</span>
      <span className="passage-body">
        <span className="passage-name">
          <Dot of={passage.source} />
          <span className="cut">{passage.name}</span>
        </span>
        <span className="facts cut">{[passage.headings.at(-1), placeOf(passage)].filter(Boolean).join(" · ")}</span>
      </span>
    </>
  );
  if (href === null)
    return (
      <span className="passage" data-gone>
        {content}
      </span>
    );
  return (
    <a className="passage plain" href={href}>
      {content}
    </a>
  );
}

function placeOf(passage: Passage): string {
  if (passage.gone) return "deleted since";
  const place = passage.page == null ? lines(passage.firstLine, passage.lastLine) : `page ${passage.page}`;
  return passage.current ? place : `${place}, changed since`;
}
