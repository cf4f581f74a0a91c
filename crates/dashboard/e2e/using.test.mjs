// The dashboard in use: live, by keyboard alone, without script, and when the server goes away.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, stage, visit } from "./stage.mjs";

let at;
let chrome;
before(async () => {
  [at, chrome] = await Promise.all([stage(), browser()]);
});
after(async () => {
  await chrome.close();
  await at.stop();
});

const row = (page, name) => page.locator(`#agents [data-key="${name}"]`);

test("what changes is shown by itself, and a new row waits until it is asked for", async () => {
  const watching = await visit(chrome, at, "viewer");
  const acting = await visit(chrome, at, "operator");
  await watching.page.locator("#live[data-state=live]").waitFor();
  await acting.page.goto(`${at.url}/agents/quiet-owl`);
  await acting.page.click("text=Suspend");
  await row(watching.page, "quiet-owl").getByText("suspended").waitFor();
  // A name that comes first would move every row.
  await acting.page.goto(`${at.url}/new`);
  await acting.page.fill("#f-name", "aaa-first");
  await acting.page.locator("#apply").waitFor();
  await acting.page.locator("#plan", { hasText: "1 to create" }).waitFor();
  await acting.page.waitForFunction(() => document.querySelector("#yaml").value.includes("aaa-first"));
  await acting.page.click("#apply");
  await acting.page.waitForURL(/agents\/aaa-first/);
  const toast = watching.page.locator("#toast");
  await toast.getByText("1 update – show").waitFor();
  assert.equal(await row(watching.page, "aaa-first").count(), 0);
  await toast.click();
  await row(watching.page, "aaa-first").waitFor();
  assert.deepEqual([...watching.faults, ...acting.faults], []);
  await watching.context.close();
  await acting.context.close();
});

test("paused means paused", async () => {
  const watching = await visit(chrome, at, "viewer");
  const acting = await visit(chrome, at, "operator");
  await watching.page.click("#pause");
  await acting.page.goto(`${at.url}/agents/travel-planner`);
  await acting.page.click("text=Suspend");
  await acting.page.getByText("Suspended: the controller").waitFor();
  assert.equal(await row(watching.page, "travel-planner").getByText("suspended").count(), 0);
  await watching.page.click("#pause");
  await row(watching.page, "travel-planner").getByText("suspended").waitFor();
  await watching.context.close();
  await acting.context.close();
});

test("form and manifest follow each other, and what is fixed is refused before anything is written", async () => {
  const { context, page, faults } = await visit(chrome, at, "operator");
  await page.goto(`${at.url}/agents/research-pro/edit`);
  assert.ok(await page.locator("#f-persona").isDisabled());
  await page.fill("#f-display", "Research Professional");
  await page.waitForFunction(() => document.querySelector("#yaml").value.includes("Research Professional"));
  await page.locator("#plan", { hasText: "router registration only" }).waitFor();
  const yaml = await page.inputValue("#yaml");
  await page.fill("#yaml", yaml.replace("careful research analyst", "careless one").replace("Professional", "Amateur"));
  await page.locator("#plan .refused", { hasText: "immutable since" }).waitFor();
  assert.equal(await page.inputValue("#f-display"), "Research Amateur");
  assert.equal(await page.locator("#apply").count(), 0);
  await page.fill("#yaml", "apiVersion: talon.dev/v1\nkind: OpenClawAgent\nmetadata: {name: research-pro}\nspec: {persna: x}\n");
  await page.locator("#plan .refused", { hasText: "line 4" }).first().waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("everything can be reached and done by keyboard", async () => {
  const { context, page, faults } = await visit(chrome, at, null);
  await page.goto(`${at.url}/sign-in`);
  await page.locator("#token:focus").waitFor();
  await page.keyboard.type("stage-operator");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${at.url}/`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("/");
  await page.keyboard.type("news");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=news/);
  await page.keyboard.press("/");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/agents\/news-digest/);
  const focused = () => page.evaluate(() => document.activeElement.querySelector(".label")?.textContent);
  await page.locator("[role=treeitem]").first().focus();
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "Address");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await focused(), "Worker");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "R2 bucket");
  // Every stop on the way through the page can be seen.
  await page.locator("#main").focus();
  for (let stop = 0; stop < 30; stop += 1) {
    await page.keyboard.press("Tab");
    const unseen = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === document.body) return null;
      const style = getComputedStyle(node.matches("[role=treeitem]") ? node.querySelector(".node") : node);
      return style.outlineStyle === "none" ? node.outerHTML.slice(0, 120) : null;
    });
    assert.equal(unseen, null);
  }
  await page.locator("text=Suspend").focus();
  await page.keyboard.press("Enter");
  await page.getByText("Suspended: the controller").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("everything works without script", async () => {
  const { context, page } = await visit(chrome, at, "admin", { javaScriptEnabled: false });
  await page.fill("input[name=q]", "markup");
  await page.click("#search button:not([type])");
  await page.click("#agents a.name");
  await page.click("text=Edit");
  await page.fill("#f-display", "Plain");
  await page.click("text=Plan from the form");
  await page.getByText("router registration only").waitFor();
  await page.click("#apply");
  await page.getByText("Written: the controller").waitFor();
  await page.click("text=Delete");
  await page.fill("#confirm", "another-name");
  await page.click("text=Delete agent");
  await page.getByText("This is not the name").waitFor();
  await page.fill("#confirm", "markup-bot");
  await page.click("text=Delete agent");
  await page.getByText("Deletion has begun").waitFor();
  await page.goto(`${at.url}/agents/legal-bot/secrets`);
  await page.fill("#key", "anthropic");
  await page.fill("#value", "sk-canary-of-the-browser");
  await page.click("text=Set key");
  await page.getByText("The key is on the Worker").waitFor();
  assert.ok(!(await page.content()).includes("sk-canary"));
  await context.close();
});

test("lines are shown as they come, wait while they are paused, and are said aloud now and then", async () => {
  const { context, page, faults } = await visit(chrome, at, "operator");
  await page.goto(`${at.url}/agents/research-pro/logs`);
  const lines = page.locator("#logs-list li");
  const said = page.locator("#logs-list .text", { hasText: "said meanwhile" });
  await page.getByText("Live: lines are shown as they come.").waitFor();
  await said.nth(2).waitFor();
  const box = page.locator("#logs-box");
  const toEnd = () => box.evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight);
  assert.ok((await toEnd()) < 24, "the last line is in sight");
  await page.locator("#say", { hasText: /new lines?\. Last: / }).waitFor();
  await page.click("#logs-pause");
  await page.getByText("Paused: new lines wait.").waitFor();
  const before = await lines.count();
  const held = page.locator("#logs-held");
  await page.locator("#logs-held", { hasText: /^([3-9]|\d\d+) new lines – show$/ }).waitFor();
  assert.equal(await lines.count(), before);
  await held.click();
  await lines.nth(before + 2).waitFor();
  assert.equal(await page.getByText("Paused: new lines wait.").count(), 1, "it stays paused");
  await page.click("#logs-pause");
  await page.getByText("Live: lines are shown as they come.").waitFor();
  assert.ok(await held.isHidden());
  // Each came once, in order.
  const numbers = await said.evaluateAll((all) => all.map((node) => Number(/n=(\d+)/.exec(node.textContent)[1])));
  assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
  await page.click("text=Both");
  await page.locator("#logs-list .src", { hasText: "worker" }).first().waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("lines are there without script", async () => {
  const { context, page } = await visit(chrome, at, "viewer", { javaScriptEnabled: false });
  await page.goto(`${at.url}/agents/news-digest/logs`);
  await page.getByText("Following takes JavaScript; load the page again for newer lines.").waitFor();
  assert.ok(await page.locator("#logs-list li").last().isVisible());
  assert.ok(await page.locator("#logs-pause").isHidden());
  await context.close();
});

test("the link that is printed at the start signs in once", async () => {
  const { context, page } = await visit(chrome, at, null);
  await page.goto(at.url + at.once);
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  await context.clearCookies();
  await page.goto(at.url + at.once);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await context.close();
});

test("tabs share one stream", async () => {
  const { context, page } = await visit(chrome, at, "viewer");
  const streams = [];
  context.on("request", (request) => {
    if (request.url().endsWith("/ui/stream")) streams.push(request);
  });
  for (let tab = 0; tab < 8; tab += 1) {
    const more = await context.newPage();
    await more.goto(`${at.url}/cleanup`);
    await more.locator("#live[data-state=live]").waitFor();
  }
  await page.goto(`${at.url}/`);
  await page.locator("#live[data-state=live]").waitFor();
  assert.ok(streams.length <= 1, `${streams.length} streams`);
  await context.close();
});

test("a server that goes away is told, and what was shown stays", async () => {
  const other = await stage();
  const { context, page } = await visit(chrome, other, "viewer");
  await page.locator("#live[data-state=live]").waitFor();
  await other.stop();
  await page.getByText(/live updates lost \d+s ago – retrying/).waitFor();
  assert.ok(await page.locator("body.stale").count());
  assert.ok(await row(page, "research-pro").isVisible());
  await context.close();
});
