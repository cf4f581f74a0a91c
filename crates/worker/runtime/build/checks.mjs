// What must be true of a bundle. The chunks' names change with each release of the engine, so nothing is taken on trust.

const MAX_BYTES = 1_500_000;
const STUBS = 3;
const NODE_MODULES = [
  "node:util",
  "node:crypto",
  "node:module",
  "node:async_hooks",
  "node:child_process",
  "node:fs",
  "node:fs/promises",
  "node:os",
  "node:path",
  "node:stream",
  "node:readline",
];
const OTHERS = ["cloudflare:workers", "./IDENTITY.md"];

/**
 * Throws, naming everything that is wrong.
 *
 * @param {Uint8Array} bytes
 * @param {string[]} imports what the bundle still imports
 * @param {Set<string>} stubs
 */
export function check(bytes, imports, stubs) {
  const wrong = [];
  if (bytes.length >= MAX_BYTES) wrong.push(`the bundle has ${bytes.length} bytes, ${MAX_BYTES} are allowed`);
  if (stubs.size !== STUBS) {
    wrong.push(`${stubs.size} chunks of openclaw were stubbed, not ${STUBS}: ${[...stubs].join(", ")}`);
  }
  for (const name of new Set(imports)) {
    if (![...NODE_MODULES, ...OTHERS].includes(name)) wrong.push(`the bundle imports ${name}`);
  }
  if (!imports.includes("./IDENTITY.md")) wrong.push("the bundle does not import ./IDENTITY.md");
  if (new TextDecoder().decode(bytes).includes("import.meta")) wrong.push("the bundle still uses import.meta");
  if (wrong.length > 0) throw new Error(`this bundle must not be used:\n  ${wrong.join("\n  ")}`);
}
