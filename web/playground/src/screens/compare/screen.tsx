import { Button, Switch } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { useQuery } from "convex/react";
import { useState } from "react";
import { type Near, searches } from "../../api/searches.ts";
import { useArrivals } from "../../lib/arrivals.ts";
import { go, hashOf } from "../../lib/place.ts";
import { lines } from "../../lib/words.ts";
import { Boundary } from "../../parts/boundary.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Hit } from "../../parts/hit.tsx";
import { CloseIcon, CompareIcon } from "../../parts/icons.tsx";
import { Dot, Key, Waiting } from "../../parts/small.tsx";
import { Header } from "../../shell/header.tsx";
import { Choose } from "./choose.tsx";
import "../search/search.css";
import "./compare.css";
import { Trail, useTrail } from "./trail.tsx";

const NEIGHBOURS = 12;

/** Walks from a chunk to those that mean nearly the same. */
export function CompareScreen({ id }: { id: string | null }) {
  const [isFar, setFar] = useState(false);
  return (
    <>
      <Header title="Compare" note={id ? "A chunk and what is nearest to it" : "Choose a chunk to begin with"}>
        {id && (
          <>
            <Switch
              size="xs"
              label="Other sources only"
              checked={isFar}
              onChange={(event) => setFar(event.currentTarget.checked)}
            />
            <Button component="a" href={hashOf("compare")} variant="default" leftSection={<CloseIcon size={14} />}>
              Clear
            </Button>
          </>
        )}
      </Header>
      <div className="body">
        {id ? (
          <Boundary key={id} what="The chunk's neighbours">
            <Neighbours id={id} isFar={isFar} />
          </Boundary>
        ) : (
          <Choose />
        )}
      </div>
    </>
  );
}

function Neighbours({ id, isFar }: { id: string; isFar: boolean }) {
  const near = useQuery(searches.near, { chunk: id, limit: NEIGHBOURS, otherSources: isFar });
  const trail = useTrail(near?.target);
  if (near === undefined) return <Waiting rows={6} />;
  if (near === null) {
    return (
      <Empty icon={CompareIcon} title="This chunk has no vector yet">
        Its neighbours appear here by themselves as soon as it is embedded.
      </Empty>
    );
  }
  return (
    <div className="compare">
      <Trail steps={trail} here={id} />
      <Target near={near} />
      <Walk near={near} />
    </div>
  );
}

function Target({ near: { target } }: { near: Near }) {
  return (
    <article className="target" aria-label="Chosen chunk">
      <p className="target-head">
        <Dot of={target.source} />
        <a className="link cut" href={hashOf("sources", target.source, { chunk: target._id })}>
          {target.name ?? target.sourceName}
        </a>
        <span className="quiet number">{lines(target.firstLine, target.lastLine)}</span>
      </p>
      {target.headings.length > 0 && <p className="trail">{target.headings.join(" › ")}</p>}
      <p className="target-text" tabIndex={0}>
        {target.text}
      </p>
    </article>
  );
}

/** The neighbours; digits walk on, Backspace goes back. */
function Walk({ near }: { near: Near }) {
  const arrives = useArrivals();
  const digits = near.rows
    .slice(0, 9)
    .map((row, index): [string, () => void] => [String(index + 1), () => go("compare", row._id)]);
  useHotkeys([...digits, ["Backspace", () => window.history.back()]]);
  if (near.error)
    return (
      <p className="column-note" data-bad role="alert">
        {near.error}
      </p>
    );
  if (near.rows.length === 0) {
    return (
      <Empty icon={CompareIcon} title="It has no neighbours">
        No other embedded chunk fits. They appear here as soon as there is one.
      </Empty>
    );
  }
  return (
    <section className="column" aria-label="Nearest">
      <h2 className="column-title">
        Nearest{" "}
        <span>
          press <Key>1</Key> to <Key>9</Key> to walk, <Key>Backspace</Key> goes back
        </span>
      </h2>
      <ol className="hits" aria-label="Nearest neighbours">
        {near.rows.map((row, index) => (
          <Hit key={row._id} row={row} rank={index + 1} arrives={arrives} href={hashOf("compare", row._id)} />
        ))}
      </ol>
    </section>
  );
}
