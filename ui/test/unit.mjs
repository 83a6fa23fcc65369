// Bundles the unit tests, which are TypeScript, for the Node that is here, and runs them.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = mkdtempSync(join(root, "node_modules/.unit-"));
try {
  const entries = readdirSync(join(root, "test/unit")).filter((name) => name.endsWith(".test.ts")).map((name) => join("test/unit", name));
  await build({ absWorkingDir: root, entryPoints: entries, outdir: out, bundle: true, platform: "node", format: "esm", target: "node18", sourcemap: "inline", logLevel: "warning", outExtension: { ".js": ".mjs" } });
  const files = readdirSync(out).map((name) => join(out, name));
  process.exitCode = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}
