// Builds the Worker bundle: node build/main.mjs --out DIR --cache DIR [--revision HASH]
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import esbuild from "esbuild";
import { check } from "./checks.mjs";
import { readDist } from "./openclaw.mjs";
import { openclaw } from "./plugin.mjs";

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: { out: { type: "string" }, cache: { type: "string" }, revision: { type: "string", default: "unversioned" } },
});
if (!values.out || !values.cache) throw new Error("usage: main.mjs --out DIR --cache DIR [--revision HASH]");
const say = (/** @type {string} */ line) => console.error(`worker: ${line}`);

const { openclaw: pin } = JSON.parse(readFileSync(path.join(home, "package.json"), "utf8"));
const files = readDist(pin, values.cache, say);
const seen = { stubs: new Set() };
const result = await esbuild.build({
  absWorkingDir: home,
  entryPoints: ["src/worker.ts"],
  outfile: "worker.js",
  write: false,
  metafile: true,
  bundle: true,
  minify: true,
  format: "esm",
  platform: "neutral",
  target: "es2024",
  mainFields: ["module", "main"],
  conditions: ["workerd", "worker", "browser", "import"],
  external: ["node:*", "cloudflare:*", "./IDENTITY.md"],
  // Without this the upload succeeds and every task fails when it runs.
  define: {
    "import.meta.url": '"file:///worker.js"',
    ENGINE_VERSION: JSON.stringify(pin.version),
    RUNTIME_REVISION: JSON.stringify(values.revision),
  },
  plugins: [openclaw(files, seen, home)],
  logLevel: "error",
});
const output = result.outputFiles[0];
const meta = Object.values(result.metafile.outputs)[0];
if (!output || !meta) throw new Error("esbuild gave no output");
check(
  output.contents,
  meta.imports.map((one) => one.path),
  seen.stubs,
);

const manifest = {
  sha256: createHash("sha256").update(output.contents).digest("hex"),
  engine: `openclaw-agent-core ${pin.version}`,
  main_module: "worker.js",
  compatibility_date: "2026-11-01",
  compatibility_flags: ["nodejs_compat"],
  durable_object_class: "OpenClawAgent",
  migration_tag: "v1",
  bindings: { AGENT_BUCKET: "r2_bucket", AGENT: "durable_object_namespace" },
};
mkdirSync(values.out, { recursive: true });
// The manifest comes last and by rename: a folder with a manifest is a whole bundle.
writeFileSync(path.join(values.out, "worker.js"), output.contents);
writeFileSync(path.join(values.out, "manifest.json.new"), `${JSON.stringify(manifest, null, 2)}\n`);
renameSync(path.join(values.out, "manifest.json.new"), path.join(values.out, "manifest.json"));
say(`${output.contents.length} bytes, ${gzipSync(output.contents).length} gzipped, sha256 ${manifest.sha256}`);
