import { createTheme, type MantineColorsTuple } from "@mantine/core";

const flow: MantineColorsTuple = [
  "#e6fbf7",
  "#d0f3ec",
  "#a1e7da",
  "#6fdac7",
  "#46cfb7",
  "#2cc8ad",
  "#1ab69c",
  "#0c9884",
  "#047a6a",
  "#00614f",
];

// The dark greys of the page: the library's own are warmer than these panels.
const dark: MantineColorsTuple = [
  "#dbe2e6",
  "#b6c2c9",
  "#93a1aa",
  "#6b7981",
  "#3a454c",
  "#2f383f",
  "#20272d",
  "#191f24",
  "#12161a",
  "#0d1013",
];

export const theme = createTheme({
  colors: { flow, dark },
  primaryColor: "flow",
  primaryShade: 8,
  defaultRadius: "md",
  cursorType: "pointer",
  fontFamily: 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Roboto, "Open Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: "650" },
  autoContrast: true,
  luminanceThreshold: 0.4,
});
