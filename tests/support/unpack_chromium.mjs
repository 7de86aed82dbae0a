// Unpacks the brotli files of the package @sparticuz/chromium: node unpack_chromium.mjs PACKAGE_BIN_FOLDER TARGET_FOLDER
// The package's own API is not used: it unpacks into a shared temporary folder and starts the browser in one process.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

const [packed, target] = process.argv.slice(2);
const read = (name) => brotliDecompressSync(readFileSync(join(packed, name)));

mkdirSync(target, { recursive: true });
writeFileSync(join(target, "chromium"), read("chromium.br"), { mode: 0o755 });
for (const [archive, folder] of [["fonts", "fonts"], ["swiftshader", "."], ["al2023", "al2023"]]) {
  const tar = join(target, `${archive}.tar`);
  mkdirSync(join(target, folder), { recursive: true });
  writeFileSync(tar, read(`${archive}.tar.br`));
  const { status } = spawnSync("tar", ["-xf", tar, "-C", join(target, folder)], { stdio: "inherit" });
  if (status !== 0) throw new Error(`tar could not unpack ${archive}`);
  rmSync(tar);
}
