import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: { outDir: "../src/reflow/_web", emptyOutDir: true, chunkSizeWarningLimit: 900 },
});
