// Every page in a real browser: nothing a reader with a disability stumbles over, nothing that scrolls sideways on a small
// screen, no script error, nothing loaded from elsewhere. Pictures of all of them are left for eyes.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { PAGES, browser, stage, visit } from "./stage.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = fileURLToPath(new URL("../../../target/dashboard-pictures", import.meta.url));

let at;
let chrome;
before(async () => {
  [at, chrome] = await Promise.all([stage(), browser(), mkdir(PICTURES, { recursive: true })]);
});
after(async () => {
  await chrome.close();
  await at.stop();
});

/** What axe finds that is serious or worse. */
async function barriers(page) {
  // The policy of the page allows no script but ours: this one comes in by the debugger.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).slice(0, 3).join(" | ")}`);
}

for (const who of new Set(PAGES.map(([, , who]) => who))) {
  for (const colorScheme of ["light", "dark"]) {
    test(`pages as ${who ?? "nobody signed in"} sees them, ${colorScheme}`, async () => {
      const found = [];
      const { context, page, faults } = await visit(chrome, at, who, { colorScheme });
      for (const [name, path] of PAGES.filter(([, , by]) => by === who)) {
        await page.setViewportSize({ width: 1440, height: 900 });
        await page.goto(at.url + path);
        found.push(...(await barriers(page)).map((barrier) => `${name}: ${barrier}`));
        for (const width of [1440, 768, 320]) {
          await page.setViewportSize({ width, height: 900 });
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          await page.screenshot({ path: `${PICTURES}/${name}-${colorScheme}-${width}.png`, fullPage: true });
          if (wide > width) found.push(`${name}: ${wide} wide in ${width}`);
        }
      }
      await context.close();
      assert.deepEqual([...found, ...faults], []);
    });
  }
}

test("what others wrote is text, wherever it stands", async () => {
  const { context, page, faults } = await visit(chrome, at, "operator");
  for (const tab of ["", "/config", "/edit", "/timeline", "/events", "/delete"]) {
    await page.goto(`${at.url}/agents/markup-bot${tab}`);
    assert.equal(await page.locator("main script, main img, main textarea b, pre b").count(), 0, tab);
  }
  // Those of a log, as the server shows them and as they come in.
  await page.goto(`${at.url}/agents/markup-bot/logs`);
  await page.getByText("Live: lines are shown as they come.").waitFor();
  assert.match(await page.locator("#logs-list").textContent(), /<script>alert\(1\)<\/script>/);
  assert.equal(await page.locator("#logs script, #logs img, #logs-list b").count(), 0);
  await page.goto(`${at.url}/agents/markup-bot/config`);
  assert.match(await page.locator("pre").first().textContent(), /<script>alert\(1\)<\/script>/);
  assert.deepEqual(faults, []);
  await context.close();
});
