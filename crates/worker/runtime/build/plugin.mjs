// What esbuild has to know of the two packages: where their files are, and which of them must stay out of a Worker.
import path from "node:path";

/** Chunks of `openclaw` that the agent core names but does not need: they pull in the whole program. */
const STUBBED = /^dist\/(stream|llm|http-body)-[A-Za-z0-9_-]{8}\.mjs$/;
/** What `@openclaw/ai` would load on demand for providers that we do not offer. */
const CUT = /(google|mistral|azure|chatgpt|vertex|opentelemetry|genai)/;

/**
 * Reads `openclaw` from memory. `seen.stubs` collects the chunks that were replaced.
 *
 * @param {Map<string, Buffer>} files
 * @param {{stubs: Set<string>}} seen
 * @param {string} home where `node_modules` stands
 * @returns {import("esbuild").Plugin}
 */
export function openclaw(files, seen, home) {
  return {
    name: "openclaw",
    setup(build) {
      build.onResolve({ filter: /^openclaw\/plugin-sdk\/agent-core$/ }, () => ({
        path: "dist/plugin-sdk/agent-core.js",
        namespace: "openclaw",
        sideEffects: false,
      }));
      build.onResolve({ filter: /.*/, namespace: "openclaw" }, async (args) => {
        if (args.path.startsWith(".")) {
          const found = path.posix.join(path.posix.dirname(args.importer), args.path);
          return { path: found, namespace: "openclaw", sideEffects: false };
        }
        if (args.path.startsWith("node:")) return { path: args.path, external: true };
        return build.resolve(args.path, { kind: args.kind, resolveDir: home });
      });
      build.onLoad({ filter: /.*/, namespace: "openclaw" }, (args) => {
        const body = files.get(args.path);
        if (!body) return { errors: [{ text: `openclaw has no ${args.path}` }] };
        const source = body.toString("utf8");
        if (!STUBBED.test(args.path)) return { contents: source, loader: "js" };
        seen.stubs.add(args.path);
        return { contents: stub(source), loader: "js" };
      });
      build.onResolve({ filter: CUT }, (args) => {
        if (args.kind !== "dynamic-import") return null;
        return { path: args.path, namespace: "cut" };
      });
      build.onLoad({ filter: /.*/, namespace: "cut" }, () => ({
        contents: `throw new Error("not part of this runtime");`,
        loader: "js",
      }));
      build.onResolve({ filter: /^\.\.?\// }, (args) => {
        if (!/[\\/]@openclaw[\\/]ai[\\/]dist/.test(args.resolveDir) || args.kind === "dynamic-import") return null;
        return { path: path.resolve(args.resolveDir, args.path), sideEffects: false };
      });
    },
  };
}

/**
 * A module with the same exports, each of which throws when it is used.
 *
 * @param {string} source
 */
function stub(source) {
  const list = /export \{([^}]*)\};?\s*$/.exec(source)?.[1] ?? "";
  const names = list
    .split(",")
    .map(
      (one) =>
        one
          .trim()
          .split(/\s+as\s+/)
          .at(-1) ?? "",
    )
    .filter(Boolean);
  const lines = names.map((name) => `export const ${name} = off;`);
  return `const off = () => { throw new Error("not part of this runtime"); };\n${lines.join("\n")}\n`;
}
