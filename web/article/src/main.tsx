import "@mantine/core/styles.css";
import "./page.css";
import { MantineProvider } from "@mantine/core";
import { ConvexProvider, ConvexReactClient } from "convex/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { theme } from "./theme.ts";

// The server that serves the page is the one it talks to; `npm run dev` has its own port and names the server.
const address = (import.meta.env["VITE_REFLOW_URL"] as string | undefined) ?? window.location.origin;
const client = new ConvexReactClient(address, { skipConvexDeploymentUrlCheck: true });

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <ConvexProvider client={client}>
        <App />
      </ConvexProvider>
    </MantineProvider>
  </StrictMode>,
);
