import { Button, Tooltip } from "@mantine/core";
import { useMutation, useQuery } from "convex/react";
import { useEffect, useMemo, useRef, useState } from "react";
import { type MapState, maps } from "../../api/maps.ts";
import { type SearchRow, searches } from "../../api/searches.ts";
import { sources } from "../../api/sources.ts";
import { useDeed } from "../../lib/deed.ts";
import { useNow } from "../../lib/now.ts";
import { amend, go, hashOf, usePlace } from "../../lib/place.ts";
import { ago, count, many, reasonOf } from "../../lib/words.ts";
import { Problem } from "../../parts/boundary.tsx";
import { Empty } from "../../parts/empty.tsx";
import { MapIcon, RetryIcon } from "../../parts/icons.tsx";
import { Waiting } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";
import { Header } from "../../shell/header.tsx";
import { SearchBox } from "../search/box.tsx";
import { Canvas, type Pointed } from "./canvas.tsx";
import { Found } from "./found.tsx";
import { Legend } from "./legend.tsx";
import "../search/search.css";
import "./map.css";
import { usePoints } from "./points.ts";
import { Tip } from "./tip.tsx";
import type { Point } from "./view.ts";

/** All chunks in a plane: what means the same lies together, and a question among them. */
export function MapScreen() {
  const state = useQuery(maps.get, {});
  const make = useMutation(maps.make);
  const deed = useDeed(make);
  const points = usePoints(state);
  const totals = useQuery(sources.totals, {});
  const isDrawable = totals !== undefined && totals.chunks > totals.waiting;
  const isLacking = state?.state === "none" && isDrawable;
  const isStale = state !== undefined && state.stale && state.state === "ready";
  const isRenewed = useRef(false);
  const { run } = deed;
  useEffect(() => {
    // What is out of date is made anew when one comes; later changes wait for the button, so that nothing jumps about.
    if (isLacking || (isStale && !isRenewed.current)) void run({});
    if (state) isRenewed.current = true;
  }, [isLacking, isStale, state, run]);
  return (
    <>
      <Header title="Map" note={state && state.version > 0 && <Note state={state} />}>
        {state?.state === "making" && <State of="running" label="Being made" />}
        {state && state.version > 0 && (
          <Tooltip label="Make it anew from all vectors">
            <Button
              variant={isStale ? "light" : "default"}
              leftSection={<RetryIcon size={14} />}
              disabled={state.state === "making"}
              onClick={() => void run({})}
            >
              {isStale ? "Chunks changed: make anew" : "Make anew"}
            </Button>
          </Tooltip>
        )}
      </Header>
      {deed.error !== null && <Problem title="The map could not be made" error={deed.error} />}
      {state?.state === "failed" && <Problem title="The map could not be made" error={new Error(state.error ?? "")} />}
      {points && points.length > 0 && state ? (
        <There state={state} points={points} />
      ) : (
        <NotYet
          isComing={totals === undefined || (isDrawable && state?.state !== "failed")}
          hasFailed={state?.state === "failed"}
        />
      )}
    </>
  );
}

function Note({ state }: { state: MapState }) {
  const now = useNow();
  return (
    <>
      {state.count < state.total
        ? `${count(state.count)} of ${many(state.total, "chunk")}`
        : many(state.count, "chunk")}
      {state.made != null && `, made ${ago(state.made, now)}`}
      {state.explained != null && `, shows ${Math.round(state.explained * 100)} % of the differences`}
    </>
  );
}

function NotYet({ isComing, hasFailed }: { isComing: boolean; hasFailed: boolean }) {
  if (hasFailed) return null;
  if (isComing) return <Waiting rows={5} />;
  return (
    <Empty
      icon={MapIcon}
      title="Nothing to draw yet"
      actions={
        <a className="link" href={hashOf("sources", null, { add: 1 })}>
          Add a source
        </a>
      }
    >
      Every embedded chunk becomes a dot. What means the same lies together.
    </Empty>
  );
}

const RESULTS = 12;

function There({ state, points }: { state: MapState; points: Point[] }) {
  const { params } = usePlace();
  const id = params.get("search");
  const search = useQuery(searches.get, id ? { searchId: id } : "skip");
  const results = useQuery(searches.results, id ? { searchId: id, mode: "dense" } : "skip");
  const place = useQuery(maps.place, id ? { searchId: id } : "skip");
  const start = useMutation(searches.start);
  const deed = useDeed(async (input: string) => amend({ search: await start({ input }) }));
  const [pointed, setPointed] = useState<Pointed | null>(null);
  const [only, setOnly] = useState<string | null>(null);
  const rows = useMemo(() => results?.rows.slice(0, RESULTS) ?? [], [results]);
  const found = useMemo(() => new Map(rows.map((row, index) => [row._id, index + 1])), [rows]);
  const question = useMemo(() => (place ? { x: place.x, y: -place.y } : null), [place]);
  const isShown = useMemo(() => (point: Point) => only === null || point.source === only, [only]);
  const byChunk = (chunk: string | null) => {
    const point = points.find((one) => one.chunk === chunk);
    setPointed(point ? { point, x: Number.NaN, y: Number.NaN } : null);
  };
  return (
    <div className="map">
      <div className="map-plane">
        <Canvas
          points={points}
          isShown={isShown}
          found={found}
          question={question}
          pointed={pointed?.point.chunk ?? null}
          point={setPointed}
          choose={(point) => go("sources", point.source, { chunk: point.chunk })}
        />
        {pointed && !Number.isNaN(pointed.x) && <Tip pointed={pointed} rank={found.get(pointed.point.chunk)} />}
      </div>
      <aside className="map-side" aria-label="Question and sources">
        <SearchBox input={search?.input ?? ""} isWanted={false} search={(input) => void deed.run(input)} />
        {deed.error !== null && (
          <p role="alert" className="outcome" data-error>
            {reasonOf(deed.error)}
          </p>
        )}
        {id && <Asked search={search} />}
        {rows.length > 0 && <Found rows={rows} pointed={pointed?.point.chunk ?? null} point={byChunk} />}
        <Legend largest={state.largest} only={only} show={setOnly} />
      </aside>
    </div>
  );
}

function Asked({ search }: { search: SearchRow | undefined }) {
  return (
    <p className="map-asked">
      {search?.state === "pending" ? (
        <State of="pending" />
      ) : (
        <span className="quiet">The star is the question, lines lead to what it finds.</span>
      )}
      <button type="button" className="link-button" onClick={() => amend({ search: null })}>
        Clear
      </button>
    </p>
  );
}
