import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Where the built pages go: the playground's at the top, the chat's (`--mode chat`) in a folder of its own.
const pages = process.env["REFLOW_PAGES"] ?? fileURLToPath(new URL("../src/reflow/_web", import.meta.url));

export default defineConfig(({ mode }) => ({
  root: fileURLToPath(new URL(mode === "chat" ? "./chat" : ".", import.meta.url)),
  publicDir: fileURLToPath(new URL("./public", import.meta.url)),
  plugins: [react()],
  build: { outDir: mode === "chat" ? `${pages}/chat` : pages, emptyOutDir: true, chunkSizeWarningLimit: 900 },
}));
