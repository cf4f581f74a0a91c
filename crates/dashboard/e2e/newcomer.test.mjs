// Somebody who has never seen the dashboard, with a keyboard and no mouse: from the first page to what to do about an agent that
// is stuck, in at most two stops (a search, a link).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, stage, visit } from "./stage.mjs";

let at;
let onHold;
let chrome;
before(async () => {
  [at, onHold, chrome] = await Promise.all([stage(), stage(0, "hold"), browser()]);
});
after(async () => {
  await chrome.close();
  await Promise.all([at.stop(), onHold.stop()]);
});

/** Tab until the link is reached, then Enter: as often as it takes, and no mouse. */
async function follow(page, selector) {
  for (let stop = 0; stop < 80; stop += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
      await page.keyboard.press("Enter");
      return;
    }
  }
  assert.fail(`no way to ${selector}`);
}

const STUCK = [
  ["keyless-bot", /give the model's provider a key.*env:TALON_SECRET_OPENAI.*talon secrets set keyless-bot OPENAI_API_KEY/s],
  ["legal-bot", /talon secrets set legal-bot ANTHROPIC_API_KEY/],
  ["name-taken", /rename or remove what bears this name.*talon reconcile name-taken/s],
  ["locked-out", /talon doctor.*TALON_CLOUDFLARE_API_TOKEN/s],
];

for (const [name, remedy] of STUCK) {
  test(`${name}: why and what to do, one link from the first page`, async () => {
    const { context, page, faults } = await visit(chrome, at, "operator");
    // The first page names it, with the first thing to do.
    const line = page.locator("#attention li", { hasText: name });
    assert.match(await line.innerText(), /Do this/);
    await follow(page, `#attention a[href="/agents/${name}"]`);
    await page.waitForURL(`${at.url}/agents/${name}`);
    const why = page.locator("#why");
    assert.match(await why.innerText(), /Do this/);
    assert.match(await why.locator("dd.do").innerText(), remedy);
    assert.deepEqual(faults, []);
    await context.close();
  });
}

test("a bucket that was left over: named on the first page, explained one link further", async () => {
  const { context, page } = await visit(chrome, at, "operator");
  assert.match(await page.locator("#attention li", { hasText: "left-behind" }).innerText(), /R2 bucket.*retention rule.*Do this/s);
  await follow(page, '#attention a[href="/cleanup"]');
  await page.waitForURL(`${at.url}/cleanup`);
  const panel = page.locator("section", { hasText: "left-behind" });
  assert.match(await panel.innerText(), /R2 bucket.*retention rule.*\$0\.015.*remove it in Cloudflare's dashboard/s);
  await context.close();
});

test("everything on hold: said first, with the way to what to do", async () => {
  const { context, page } = await visit(chrome, onHold, "admin");
  assert.match(await page.locator("#health").innerText(), /on hold.*40 of 120 Workers vanished/s);
  await follow(page, '#health a[href="/controller"]');
  await page.waitForURL(`${onHold.url}/controller`);
  assert.match(await page.locator("#hold").innerText(), /Look before you release.*Release the hold/s);
  await context.close();
});

test("a search leads to the same place", async () => {
  const { context, page } = await visit(chrome, at, "operator");
  await page.keyboard.press("/");
  await page.keyboard.type("locked");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=locked/);
  await page.keyboard.press("/");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/agents\/locked-out/);
  assert.match(await page.locator("#why dd.do").innerText(), /talon doctor/);
  await context.close();
});

test("a command is copied by keyboard", async () => {
  const { context, page } = await visit(chrome, at, "operator");
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto(`${at.url}/agents/locked-out`);
  const button = page.locator("#why [data-copy]").first();
  await button.focus();
  await page.keyboard.press("Enter");
  await page.locator("#say", { hasText: "Copied" }).waitFor({ state: "attached" });
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "talon doctor");
  await context.close();
});

test("a slow page shows its bones, and says that it loads", { timeout: 30_000 }, async () => {
  const { context, page } = await visit(chrome, at, "viewer");
  // The page that was asked for comes once the old one has told that its bones stand there.
  const stands = page.waitForEvent("console", (message) => message.text() === "bones: Loading");
  await page.route("**/cleanup", async (route) => {
    await stands;
    await route.continue();
  });
  await page.evaluate(() => {
    const main = document.querySelector("#main");
    const look = () => {
      if (main.querySelector(".skeleton") && main.ariaBusy === "true") console.log(`bones: ${main.querySelector("p.sr").textContent}`);
    };
    new MutationObserver(look).observe(main, { childList: true });
    document.querySelector('.nav a[href="/cleanup"]').click();
  });
  await page.getByRole("heading", { name: "Deleting & leftovers" }).waitFor();
  await context.close();
});
