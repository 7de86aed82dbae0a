import { useComputedColorScheme } from "@mantine/core";
import { type KeyboardEvent, type PointerEvent, useEffect, useMemo, useRef, useState } from "react";
import { many } from "../../lib/words.ts";
import { draw, type Scene } from "./draw.ts";
import { Grid, type Point, type Size, type View, wholeView, zoomed } from "./view.ts";

export type Pointed = { point: Point; x: number; y: number };

type CanvasProps = Omit<Scene, "pointed"> & {
  pointed: string | null;
  point: (pointed: Pointed | null) => void;
  choose: (point: Point) => void;
};

const STEP_PX = 60;
/** A press that moves further is no click. */
const STILL_PX = 4;

/** The map itself: the wheel zooms, dragging moves, a click opens; arrows, + and - do so by keys. */
export function Canvas({ pointed, point, choose, ...scene }: CanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  const [moved, setMoved] = useState<View | null>(null);
  const drag = useRef<{ x: number; y: number; isMoving: boolean } | null>(null);
  const scheme = useComputedColorScheme();
  const { points, isShown, found, question } = scene;
  const all = useMemo(
    () => (question ? [...points, { ...question, chunk: "", source: "" }] : points),
    [points, question],
  );
  const whole = useMemo(() => wholeView(all, size), [all, size]);
  const view = moved ?? whole;
  const grid = useMemo(() => new Grid(points, view, isShown), [points, view, isShown]);
  useSize(canvas, setSize);
  useWheel(canvas, (factor, at) => setMoved((was) => zoomed(was ?? whole, factor, at, whole.scale)));
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || size.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.current!.width = size.width * ratio;
    canvas.current!.height = size.height * ratio;
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas.current!);
    const [ink, panel, line, accent] = ["--map-ink", "--map-ground", "--map-line", "--map-accent"].map((name) =>
      style.getPropertyValue(name),
    );
    draw(context, { points, isShown, found, question, pointed }, view, size, {
      ink: ink!,
      panel: panel!,
      line: line!,
      accent: accent!,
    });
  }, [points, isShown, found, question, pointed, view, size, scheme]);

  const where = (event: PointerEvent) => {
    const box = event.currentTarget.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const pointerMoved = (event: PointerEvent) => {
    const at = where(event);
    const start = drag.current;
    if (start) {
      if (!start.isMoving && Math.hypot(at.x - start.x, at.y - start.y) < STILL_PX) return;
      setMoved({ ...view, left: view.left + at.x - start.x, top: view.top + at.y - start.y });
      drag.current = { ...at, isMoving: true };
      point(null);
      return;
    }
    const near = grid.nearest(at.x, at.y);
    point(near && { point: near, ...at });
  };
  const released = (event: PointerEvent) => {
    const start = drag.current;
    drag.current = null;
    if (!start || start.isMoving) return;
    const at = where(event);
    const near = grid.nearest(at.x, at.y);
    if (!near) return;
    // A finger first shows what is there, then opens it.
    if (event.pointerType === "touch" && pointed !== near.chunk) point({ point: near, ...at });
    else choose(near);
  };
  const pressed = (event: KeyboardEvent) => {
    const next = byKey(event.key, view, size, whole);
    if (next === undefined) return;
    event.preventDefault();
    setMoved(next);
  };
  return (
    <canvas
      ref={canvas}
      className="map-canvas"
      role="img"
      aria-label={`Map of ${many(points.length, "chunk")}. Arrows move it, plus and minus zoom, 0 shows all.`}
      tabIndex={0}
      data-pointed={pointed ?? undefined}
      onPointerMove={pointerMoved}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { ...where(event), isMoving: false };
      }}
      onPointerUp={released}
      onPointerCancel={() => (drag.current = null)}
      onPointerLeave={() => point(null)}
      onKeyDown={pressed}
    />
  );
}

/** The view after a key; null is the whole, undefined means that the key does nothing. */
function byKey(key: string, view: View, size: Size, whole: View): View | null | undefined {
  const middle = { x: size.width / 2, y: size.height / 2 };
  switch (key) {
    case "ArrowLeft":
      return { ...view, left: view.left + STEP_PX };
    case "ArrowRight":
      return { ...view, left: view.left - STEP_PX };
    case "ArrowUp":
      return { ...view, top: view.top + STEP_PX };
    case "ArrowDown":
      return { ...view, top: view.top - STEP_PX };
    case "+":
    case "=":
      return zoomed(view, 1.4, middle, whole.scale);
    case "-":
      return zoomed(view, 1 / 1.4, middle, whole.scale);
    case "0":
      return null;
    default:
      return undefined;
  }
}

function useSize(canvas: { current: HTMLCanvasElement | null }, set: (size: Size) => void): void {
  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (!box) return;
    const observer = new ResizeObserver(() => set({ width: box.clientWidth, height: box.clientHeight }));
    observer.observe(box);
    return () => observer.disconnect();
  }, [canvas, set]);
}

/** The wheel's events must be taken without React, which can't keep them from scrolling the page. */
function useWheel(
  canvas: { current: HTMLCanvasElement | null },
  zoom: (factor: number, at: { x: number; y: number }) => void,
): void {
  const latest = useRef(zoom);
  useEffect(() => {
    latest.current = zoom;
  });
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const turned = (event: WheelEvent) => {
      event.preventDefault();
      const box = element.getBoundingClientRect();
      latest.current(Math.exp(-event.deltaY * 0.0015), { x: event.clientX - box.left, y: event.clientY - box.top });
    };
    element.addEventListener("wheel", turned, { passive: false });
    return () => element.removeEventListener("wheel", turned);
  }, [canvas]);
}
