// `node measure.mjs [AGENTS] [ROUNDS]`: how soon a page of a large fleet can be used, and how soon a change in the database is
// seen. Prints numbers; decides nothing.

import { browser, stage, visit } from "./stage.mjs";

const agents = Number(process.argv[2] ?? 10_000);
const rounds = Number(process.argv[3] ?? 40);
const at = await stage(agents);
const chrome = await browser();
const watching = await visit(chrome, at, "admin");
const acting = await visit(chrome, at, "admin");
const sorted = (list) => [...list].sort((a, b) => a - b);
const say = (what, list) => {
  const all = sorted(list);
  const share = (p) => Math.round(all[Math.min(all.length - 1, Math.floor(all.length * p))]);
  console.log(`${what}: median ${share(0.5)} ms, p99 ${share(0.99)} ms, n ${all.length}`);
};

const ready = [];
for (let round = 0; round < 15; round += 1) {
  await watching.page.goto(`${at.url}/?q=${round % 2 ? "agent-0" : ""}`);
  ready.push(await watching.page.evaluate(() => performance.getEntriesByType("navigation")[0].domInteractive));
}
say(`fleet of ${agents}: interactive`, ready);

await watching.page.goto(at.url);
await watching.page.locator("#live[data-state=live]").waitFor();
const name = "acme-sales";
const csrf = await acting.page.locator("input[name=csrf]").first().inputValue();
const seen = [];
for (let round = 0; round < rounds; round += 1) {
  const wanted = round % 2 ? "connected" : "suspended";
  const shown = watching.page.evaluate(
    ([name, wanted]) =>
      new Promise((resolve) => {
        const look = () => {
          const text = document.querySelector(`#agents [data-key="${name}"] .message`)?.innerText ?? "";
          if (wanted === "suspended" ? text.includes("suspended") : !text.includes("suspended")) requestAnimationFrame(() => resolve(Date.now()));
          else requestAnimationFrame(look);
        };
        look();
      }),
    [name, wanted],
  );
  // The answer comes after the commit: the time before it was sent is the earliest that the commit can have been.
  const sent = Date.now();
  await acting.context.request.post(`${at.url}/agents/${name}/${round % 2 ? "resume" : "suspend"}`, { form: { csrf }, maxRedirects: 0 });
  seen.push((await shown) - sent);
}
say("request of the change to pixel (commit included)", seen);
await chrome.close();
await at.stop();
