import { Button, createTheme, type MantineColorsTuple, Modal, Popover, TextInput, Tooltip } from "@mantine/core";

const flow: MantineColorsTuple = [
  "#e7f9f6",
  "#d2f2ec",
  "#a5e5da",
  "#74d8c7",
  "#4bccb7",
  "#2cbfa8",
  "#14a791",
  "#0a8f7c",
  "#06766a",
  "#065c50",
];

// The dark greys of the page: the library's own are lighter and warmer.
const dark: MantineColorsTuple = [
  "#e3e5e8",
  "#b4b9c0",
  "#9097a0",
  "#6b727b",
  "#3a3f46",
  "#2b2f35",
  "#1e2126",
  "#16181c",
  "#101215",
  "#0b0c0e",
];

export const theme = createTheme({
  colors: { flow, dark },
  primaryColor: "flow",
  primaryShade: 8,
  defaultRadius: "md",
  radius: { xs: "4px", sm: "6px", md: "8px", lg: "12px", xl: "16px" },
  fontSizes: { xs: "12px", sm: "13px", md: "14px", lg: "16px", xl: "19px" },
  spacing: { xs: "8px", sm: "12px", md: "16px", lg: "20px", xl: "28px" },
  cursorType: "pointer",
  fontFamily: '"Inter Page", -apple-system, "Segoe UI", system-ui, Roboto, "Open Sans", sans-serif',
  fontFamilyMonospace: '"JetBrains Page", ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: "620" },
  autoContrast: true,
  luminanceThreshold: 0.36,
  components: {
    Button: Button.extend({ defaultProps: { size: "xs", radius: "md" } }),
    TextInput: TextInput.extend({ defaultProps: { size: "sm" } }),
    Tooltip: Tooltip.extend({
      defaultProps: { openDelay: 350, fz: 12, radius: "sm", events: { hover: true, focus: true, touch: false } },
    }),
    Popover: Popover.extend({ defaultProps: { shadow: "lg", radius: "md", transitionProps: { duration: 120 } } }),
    Modal: Modal.extend({ defaultProps: { radius: "lg", centered: true, transitionProps: { duration: 140 } } }),
  },
});
