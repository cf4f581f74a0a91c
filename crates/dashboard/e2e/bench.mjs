// `node bench.mjs [AGENTS] [LOADS] [COMMITS]`: how soon the first page of a large fleet can be used, and how soon what another
// connection commits to the database is seen. Prints numbers and their goals; decides nothing.
//
// Interactive: from the start of the navigation to the end of DOMContentLoaded, when the page stands and every handler is
// attached. Seen: from just before the statement is handed to another process's connection (so the commit itself counts) to
// the second frame after the row shows it, by the same clock. Both in Chromium on this machine.
//
// Measured on 2026-11-30, release build, two shared cores at load 1.8, 10,000 agents: interactive median 131 ms, 99 % 179 ms
// (40 loads); seen median 148 ms, 99 % 199 ms (120 commits).

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { loadavg } from "node:os";
import { browser, stage, visit } from "./stage.mjs";

const [agents, loads, commits] = [10_000, 40, 120].map((usual, at) => Number(process.argv[2 + at] ?? usual));
const WATCHED = "acme-sales";

const at = await stage(agents);
const chrome = await browser();

function say(what, list, goal) {
  const all = [...list].sort((a, b) => a - b);
  const rank = (percent) => Math.round(all[Math.ceil((all.length * percent) / 100) - 1]);
  console.log(`${what}: median ${rank(50)} ms, p99 ${rank(99)} ms, n ${all.length} (goal: ${goal})`);
}

/** SQL by a connection of another process, one statement at a time. */
function connection(url) {
  const sqlite = spawn("sqlite3", ["-batch", url.replace("sqlite://", "")], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: sqlite.stdout });
  const run = (sql) =>
    new Promise((resolve, reject) => {
      lines.once("line", (line) => (line === "done" ? resolve() : reject(new Error(line))));
      sqlite.stdin.write(`${sql}\nSELECT 'done';\n`);
    });
  return { run, end: () => sqlite.stdin.end() };
}

console.log(`load of the machine: ${loadavg()[0].toFixed(1)}`);
const { page } = await visit(chrome, at, "admin");
const addresses = ["/", "/?status=deployed", "/?q=agent-0", "/?show=attention"];
const wire = [];
page.on("response", async (response) => {
  if (response.request().isNavigationRequest()) wire.push((await response.body().catch(() => "")).length);
});
for (const address of addresses) await page.goto(at.url + address);
const ready = new Map(addresses.map((address) => [address, []]));
for (let load = 0; load < loads; load += 1) {
  const address = addresses[load % addresses.length];
  await page.goto(at.url + address);
  ready.get(address).push(await page.evaluate(() => performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd));
}
say(`first page of ${agents} agents, interactive`, [...ready.values()].flat(), "below 1000 ms");
for (const [address, times] of ready) say(`  ${address}`, times, "below 1000 ms");
console.log(`  ${Math.round(Math.max(...wire) / 1024)} KiB of HTML at most`);

await page.goto(`${at.url}/?q=acme-s`);
await page.locator("#live[data-state=live]").waitFor();
const other = connection(at.database);
await other.run(".timeout 10000");
const seen = [];
for (let commit = 0; commit < commits; commit += 1) {
  const suspend = commit % 2 === 0;
  const shown = page.evaluate(
    ([name, suspended]) =>
      new Promise((resolve) => {
        const look = () => {
          const text = document.querySelector(`#agents [data-key="${name}"] .message`)?.textContent ?? "";
          if (text.includes("suspended") === suspended) requestAnimationFrame(() => resolve(performance.timeOrigin + performance.now()));
          else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
      }),
    [WATCHED, suspend],
  );
  const begun = performance.timeOrigin + performance.now();
  await other.run(`UPDATE agent_source SET suspend = ${suspend ? 1 : 0} WHERE name = '${WATCHED}';`);
  seen.push((await shown) - begun);
}
say("commit by another connection to pixel", seen, "p99 below 2000 ms");
other.end();
await chrome.close();
await at.stop();
