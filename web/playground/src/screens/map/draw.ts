// Draws the map on a canvas.
import { colourOf } from "../../lib/colours.ts";
import type { Point, Size, View } from "./view.ts";

export type Scene = {
  points: Point[];
  isShown: (point: Point) => boolean;
  /** Ranks of what a question found, by chunk. */
  found: Map<string, number>;
  question: { x: number; y: number } | null;
  pointed: string | null;
};

type Colours = { ink: string; panel: string; line: string; accent: string };

const FULL_TURN = 2 * Math.PI;

export function draw(context: CanvasRenderingContext2D, scene: Scene, view: View, size: Size, colours: Colours): void {
  const { points, found, question, pointed, isShown } = scene;
  const at = ({ x, y }: { x: number; y: number }) => ({ x: x * view.scale + view.left, y: y * view.scale + view.top });
  context.clearRect(0, 0, size.width, size.height);
  const radius = points.length > 5000 ? 2 : points.length > 800 ? 3 : 4.5;
  const isAsked = found.size > 0;
  const lit: Point[] = [];
  for (const point of points) {
    if (!isShown(point)) continue;
    if (found.has(point.chunk) || point.chunk === pointed) {
      lit.push(point);
      continue;
    }
    const { x, y } = at(point);
    if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) continue;
    context.globalAlpha = isAsked ? 0.35 : 0.85;
    context.fillStyle = colourOf(point.source);
    context.beginPath();
    context.arc(x, y, radius, 0, FULL_TURN);
    context.fill();
  }
  context.globalAlpha = 1;
  if (question) drawWays(context, lit.filter((point) => found.has(point.chunk)).map(at), at(question), colours);
  for (const point of lit) {
    const { x, y } = at(point);
    context.fillStyle = colourOf(point.source);
    context.strokeStyle = point.chunk === pointed ? colours.ink : colours.panel;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, radius + 3, 0, FULL_TURN);
    context.fill();
    context.stroke();
  }
  if (question) drawQuestion(context, at(question), colours);
}

/** Lines from a question to what it found. */
function drawWays(
  context: CanvasRenderingContext2D,
  ends: { x: number; y: number }[],
  from: { x: number; y: number },
  colours: Colours,
) {
  context.strokeStyle = colours.accent;
  context.lineWidth = 1;
  context.globalAlpha = 0.45;
  for (const end of ends) {
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(end.x, end.y);
    context.stroke();
  }
  context.globalAlpha = 1;
}

const ARMS = 4;

/** A question is a star among dots. */
function drawQuestion(context: CanvasRenderingContext2D, { x, y }: { x: number; y: number }, colours: Colours) {
  context.beginPath();
  for (let step = 0; step < ARMS * 2; step += 1) {
    const reach = step % 2 === 0 ? 13 : 4.5;
    const angle = (step / (ARMS * 2)) * FULL_TURN - Math.PI / 2;
    context.lineTo(x + Math.cos(angle) * reach, y + Math.sin(angle) * reach);
  }
  context.closePath();
  context.fillStyle = colours.ink;
  context.strokeStyle = colours.panel;
  context.lineWidth = 3;
  context.stroke();
  context.fill();
}
