// Loads one of the runtime's modules into node, for tests that need no Worker.
import path from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

/** @param {string} file below `src/` */
export async function source(file) {
  const built = await esbuild.build({
    entryPoints: [path.join(home, "src", file)],
    bundle: true,
    write: false,
    format: "esm",
    logLevel: "error",
  });
  return import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0]?.contents ?? "").toString("base64")}`);
}
