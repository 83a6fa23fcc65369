// Builds dist/ from src/ and public/: one script, one style sheet, the static files and the licenses of what is bundled.
import { build } from "esbuild";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const out = join(root, "dist");

rmSync(out, { recursive: true, force: true });
mkdirSync(out);
cpSync(join(root, "public"), out, { recursive: true });

const result = await build({
  absWorkingDir: root,
  entryPoints: { app: "src/main.tsx" },
  outdir: "dist",
  bundle: true,
  minify: true,
  metafile: true,
  format: "esm",
  platform: "browser",
  target: ["es2022"],
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
});

writeFileSync(join(out, "licenses.txt"), licenses(bundledPackages(Object.keys(result.metafile.inputs))));
for (const [file, { bytes }] of Object.entries(result.metafile.outputs)) console.log(`${file} ${bytes} bytes`);

// The packages of node_modules that esbuild really put into the bundle, sorted.
function bundledPackages(inputs) {
  const names = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean);
  return [...new Set(names)].sort();
}

function licenses(names) {
  const intro = "The page contains these packages. Each is followed by its license.\n";
  const parts = names.map((name) => {
    const dir = join(root, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
    const text = readFileSync(join(dir, "LICENSE"), "utf8").trim();
    return `${"=".repeat(72)}\n${name} ${version} (${license})\n\n${text}\n`;
  });
  return [intro, ...parts].join("\n");
}
