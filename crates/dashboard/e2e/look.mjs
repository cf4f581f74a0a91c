// `node look.mjs FOLDER [PAGE…]`: takes pictures of pages in light and dark, narrow, middling and wide, for eyes.

import { mkdir } from "node:fs/promises";
import { PAGES, browser, stage, visit } from "./stage.mjs";

const [folder, ...wanted] = process.argv.slice(2);
const WIDTHS = process.env.TALON_WIDTHS?.split(",").map(Number) ?? [320, 768, 1440];
await mkdir(folder, { recursive: true });
const at = await stage(Number(process.env.TALON_AGENTS ?? 0));
const chrome = await browser();
for (const who of new Set(PAGES.map(([, , who]) => who))) {
  const pages = PAGES.filter(([name, , by]) => by === who && (!wanted.length || wanted.includes(name)));
  if (!pages.length) continue;
  for (const colorScheme of ["light", "dark"]) {
    const { context, page, faults } = await visit(chrome, at, who, { colorScheme });
    for (const [name, path] of pages) {
      await page.goto(at.url + path);
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        await page.screenshot({ path: `${folder}/${name}-${colorScheme}-${width}.png`, fullPage: true });
      }
    }
    for (const fault of faults) console.log(`${who}: ${fault}`);
    await context.close();
  }
}
await chrome.close();
await at.stop();
