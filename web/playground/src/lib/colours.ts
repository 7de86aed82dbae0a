// Each source has a colour of its own, the same on every screen, so that it is known again in lists and on the map.

/** Told apart by most kinds of colour-blindness, on light and dark grounds; never the only sign of anything. */
const COLOURS = [
  "#0a9e86",
  "#4c7df0",
  "#e0872b",
  "#b45fd1",
  "#d9486a",
  "#5aa02c",
  "#19a3c9",
  "#9a7b4f",
  "#7a6ff0",
  "#c9a70c",
];

/** Return the colour of what has this id. */
export function colourOf(id: string): string {
  let hash = 0;
  for (let index = 0; index < id.length; index += 1) hash = (hash * 31 + id.charCodeAt(index)) >>> 0;
  return COLOURS[hash % COLOURS.length]!;
}
