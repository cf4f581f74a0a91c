// `node run.mjs`: what Lighthouse thinks of the accessibility of every kind of page. Fails below 95.
//
// Not among the tests: it brings a hundred packages and takes minutes, and axe (which it uses) is among them.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:net";
import lighthouse from "lighthouse";
import { chromium } from "playwright-core";
import { PAGES, stage } from "../stage.mjs";

const GOAL = 95;
const KINDS = ["fleet", "agent-well", "agent-stalled", "timeline", "events", "logs", "config", "secrets", "history", "edit", "new", "delete", "cleanup", "controller", "audit", "access", "sign-in"];

/** A port that nobody has now. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const at = await stage();
const port = await freePort();
const profile = await mkdtemp(join(tmpdir(), "talon-lighthouse-"));
// One profile for both: whoever signs in here is signed in for Lighthouse, and the shared stream runs.
const chrome = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.TALON_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", `--remote-debugging-port=${port}`],
});
const page = await chrome.newPage();
await page.goto(`${at.url}/sign-in`);
await page.fill("#token", "stage-admin");
await page.click("text=Sign in >> nth=-1");
await page.waitForURL(`${at.url}/`);
const low = [];
for (const [name, path] of PAGES.filter(([name]) => KINDS.includes(name))) {
  const { lhr } = await lighthouse(at.url + path, {
    port,
    output: "json",
    onlyCategories: ["accessibility"],
    disableStorageReset: true,
    logLevel: "error",
  });
  const score = Math.round(lhr.categories.accessibility.score * 100);
  const wrong = Object.values(lhr.audits).filter((audit) => audit.score !== null && audit.score < 1);
  console.log(`${String(score).padStart(3)}  ${name}${wrong.length ? `  (${wrong.map((audit) => audit.id).join(", ")})` : ""}`);
  for (const { details } of wrong) for (const item of details?.items ?? []) console.log(`       ${item.node?.snippet ?? ""}`);
  if (score < GOAL) low.push(name);
}
await chrome.close();
await at.stop();
await rm(profile, { recursive: true, force: true });
if (low.length) {
  console.error(`below ${GOAL}: ${low.join(", ")}`);
  process.exitCode = 1;
}
