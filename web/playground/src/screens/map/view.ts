// How the map's plane lies in its window: where a point is drawn, and which one is under the pointer.

export type Point = { chunk: string; source: string; x: number; y: number };

export type Size = { width: number; height: number };

/** Pixel = point * scale + (left, top). */
export type View = { scale: number; left: number; top: number };

const MARGIN = 0.06;
const MOST_ZOOM = 60;

/** Return the view in which all points are seen. */
export function wholeView(points: Point[], { width, height }: Size): View {
  if (points.length === 0) return { scale: 1, left: width / 2, top: height / 2 };
  let [minX, maxX, minY, maxY] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of points) {
    minX = Math.min(minX, x);
    maxX = Math.max(maxX, x);
    minY = Math.min(minY, y);
    maxY = Math.max(maxY, y);
  }
  const spanX = maxX - minX || 1;
  const spanY = maxY - minY || 1;
  const scale = Math.min(width / spanX, height / spanY) * (1 - 2 * MARGIN);
  return { scale, left: width / 2 - ((minX + maxX) / 2) * scale, top: height / 2 - ((minY + maxY) / 2) * scale };
}

/** Return the view after zooming around a pixel; `least` is the scale of the whole. */
export function zoomed(view: View, factor: number, at: { x: number; y: number }, least: number): View {
  const scale = Math.min(least * MOST_ZOOM, Math.max(least * 0.7, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, left: at.x - (at.x - view.left) * ratio, top: at.y - (at.y - view.top) * ratio };
}

const CELL_PX = 24;
const REACH_PX = 14;

/** Points by the cells of a grid, so that the one under the pointer is found without looking at all. */
export class Grid {
  private readonly cells = new Map<number, number[]>();

  constructor(
    private readonly points: Point[],
    private readonly view: View,
    isShown: (point: Point) => boolean,
  ) {
    points.forEach((point, index) => {
      if (!isShown(point)) return;
      const key = this.keyOf(point.x * view.scale + view.left, point.y * view.scale + view.top);
      const cell = this.cells.get(key);
      if (cell) cell.push(index);
      else this.cells.set(key, [index]);
    });
  }

  /** Return the point nearest to a pixel, within reach. */
  nearest(x: number, y: number): Point | null {
    let best: Point | null = null;
    let distance = REACH_PX ** 2;
    for (let dx = -1; dx <= 1; dx += 1) {
      for (let dy = -1; dy <= 1; dy += 1) {
        for (const index of this.cells.get(this.keyOf(x + dx * CELL_PX, y + dy * CELL_PX)) ?? []) {
          const point = this.points[index]!;
          const px = point.x * this.view.scale + this.view.left - x;
          const py = point.y * this.view.scale + this.view.top - y;
          const square = px * px + py * py;
          if (square < distance) {
            distance = square;
            best = point;
          }
        }
      }
    }
    return best;
  }

  private keyOf(x: number, y: number): number {
    return Math.floor(x / CELL_PX) * 100_003 + Math.floor(y / CELL_PX);
  }
}
