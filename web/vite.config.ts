import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Where the built pages go: the playground's at the top, those of another application (`--mode chat`) in a folder of its own.
const pages = process.env["REFLOW_PAGES"] ?? fileURLToPath(new URL("../src/reflow/_web", import.meta.url));
const FOLDERS = ["article", "chat"];

export default defineConfig(({ mode }) => {
  const isOther = FOLDERS.includes(mode);
  return {
    root: fileURLToPath(new URL(isOther ? `./${mode}` : "./playground", import.meta.url)),
    publicDir: fileURLToPath(new URL("./public", import.meta.url)),
    plugins: [react()],
    build: { outDir: isOther ? `${pages}/${mode}` : pages, emptyOutDir: true, chunkSizeWarningLimit: 900 },
  };
});
