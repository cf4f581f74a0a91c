// Starts the stage (a dashboard over made-up agents) and a browser for it.

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const ROOT = new URL("../../../", import.meta.url);
export const STAGE = process.env.TALON_STAGE ?? fileURLToPath(new URL("target/debug/examples/stage", ROOT));
const CHROMIUM = process.env.TALON_CHROMIUM ?? "/usr/bin/chromium";

/** The stage with so many agents more, or with everything on hold; `stop` ends it, and with it everything that it made. */
export async function stage(more = 0, ...words) {
  const child = spawn(STAGE, [String(more), ...words], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const lines = createInterface({ input: child.stdout });
  const first = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the stage ended with ${code}`)));
  });
  return {
    ...JSON.parse(first),
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

/** A browser that reaches this machine only. */
export function browser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  });
}

/** A window in which somebody is signed in. What is not ours to load, and every error of a script, fails the test. */
export async function visit(chrome, at, who, options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of (4|5)\d\d/.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(at.url)) faults.push(`foreign: ${request.url()}`);
  });
  if (process.env.TALON_LIVE_ASSETS) await fromDisk(page);
  if (who) {
    await page.goto(`${at.url}/sign-in`);
    await page.fill("#token", `stage-${who}`);
    await page.click("text=Sign in >> nth=-1");
    await page.waitForURL(`${at.url}/`);
  }
  return { context, page, faults };
}

/** Style and script as they lie in the folder, while one works on them. */
async function fromDisk(page) {
  await page.route(/\/ui\/assets\/(talon|stream)-[0-9a-f]+\.(css|js)$/, async (route) => {
    const [, stem, extension] = /(talon|stream)-[0-9a-f]+\.(css|js)$/.exec(route.request().url());
    const body = await readFile(new URL(`../assets/${stem}.${extension}`, import.meta.url));
    await route.fulfill({ body, contentType: extension === "css" ? "text/css" : "text/javascript" });
  });
}

/** Every page, with who looks at it. */
export const PAGES = [
  ["fleet", "/", "admin"],
  ["fleet-failed", "/?status=failed", "viewer"],
  ["fleet-attention", "/?show=attention", "admin"],
  ["fleet-nothing-fits", "/?q=no-such-agent", "admin"],
  ["fleet-empty", "/", "nobody"],
  ["fleet-of-one-owner", "/", "acme"],
  ["agent-stalled", "/agents/legal-bot", "operator"],
  ["agent-well", "/agents/research-pro", "admin"],
  ["agent-throttled", "/agents/news-digest", "operator"],
  ["agent-new", "/agents/fresh-agent", "operator"],
  ["agent-suspended", "/agents/napping-cat", "operator"],
  ["agent-deleting", "/agents/old-helper", "operator"],
  ["agent-deleted", "/agents/left-behind", "operator"],
  ["agent-long-values", "/agents/very-long-values-agent-name-30", "viewer"],
  ["agent-markup", "/agents/markup-bot/config", "operator"],
  ["timeline", "/agents/research-pro/timeline", "admin"],
  ["timeline-failing", "/agents/news-digest/timeline", "admin"],
  ["timeline-deleting", "/agents/old-helper/timeline", "admin"],
  ["events", "/agents/research-pro/events", "admin"],
  ["events-none", "/agents/fresh-agent/events?severity=warning", "admin"],
  ["logs", "/agents/news-digest/logs", "admin"],
  ["logs-both", "/agents/research-pro/logs?source=controller,worker", "operator"],
  ["logs-worker", "/agents/fresh-agent/logs?source=worker", "operator"],
  ["logs-none", "/agents/fresh-agent/logs", "viewer"],
  ["logs-not-allowed", "/agents/news-digest/logs?source=worker", "viewer"],
  ["config", "/agents/research-pro/config", "admin"],
  ["secrets", "/agents/legal-bot/secrets", "secrets"],
  ["history", "/agents/old-helper/history", "admin"],
  ["audit", "/audit", "admin"],
  ["audit-nothing-fits", "/audit?q=no-such-thing", "admin"],
  ["access", "/access", "admin"],
  ["access-of-one-owner", "/access", "acme-admin"],
  ["edit", "/agents/research-pro/edit", "operator"],
  ["new", "/new", "operator"],
  ["delete", "/agents/research-pro/delete", "operator"],
  ["cleanup", "/cleanup", "operator"],
  ["cleanup-empty", "/cleanup", "nobody"],
  ["controller", "/controller", "admin"],
  ["not-allowed", "/controller", "acme"],
  ["not-found", "/agents/no-such-agent", "admin"],
  ["sign-in", "/sign-in", null],
];
