// Runs r2-cases.js in miniflare and prints what it tells.
import { readFileSync } from "node:fs";
import { Miniflare } from "miniflare";

const miniflare = new Miniflare({
  modules: [{ type: "ESModule", path: "worker.js", contents: readFileSync(new URL("r2-cases.js", import.meta.url), "utf8") }],
  // The newest that this miniflare's own workerd knows.
  compatibilityDate: process.argv[2],
  r2Buckets: ["BUCKET"],
});
const answer = await miniflare.dispatchFetch("http://localhost/");
console.log(await answer.text());
await miniflare.dispose();
