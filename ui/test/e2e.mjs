// The page in headless Chromium against a running server: finds a service and its hot function as a person would.
// node test/e2e.mjs --url http://127.0.0.1:4040 --service NAME --function FUNC [--screenshots DIR] [--timeout SECONDS] [--range 5m]

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBrowser } from "./browser/launch.mjs";
import { clickFrame, dragTimeline, framesNamed, hover, parameter, profileDrawn } from "./browser/page.mjs";

const { values: options } = parseArgs({
  options: { url: { type: "string" }, service: { type: "string" }, function: { type: "string" }, screenshots: { type: "string" }, timeout: { type: "string", default: "45" }, range: { type: "string" }, chromium: { type: "string", default: "/usr/bin/chromium" } },
});
if (!options.url || !options.service || !options.function) {
  console.error("usage: node test/e2e.mjs --url URL --service NAME --function FUNC [--screenshots DIR] [--timeout SECONDS] [--chromium PATH]");
  process.exit(2);
}
const { service, function: wanted } = options;
const base = new URL(options.url);
const { browser, page, faults } = await openBrowser({ executable: options.chromium, origin: base.origin });
const entryQuery = `/?refresh=off${options.range ? `&from=now-${options.range}` : ""}`;
let step = "open the page";

try {
  const entry = await findService();
  await shot("overview");
  await openService(entry);
  await hoverFunction();
  await searchFunction();
  await zoomByClick();
  await dragAndGoBack();
  await readTable();
  await reloadKeepsState();
  step = "look for what a page must not do";
  assert.deepEqual(faults, [], "console errors, policy violations or foreign requests");
  console.log("ok: the page works");
} catch (error) {
  console.error(`FAILED at "${step}" (${page.url()}): ${error.message}`);
  for (const fault of faults) console.error(`  ${fault}`);
  if (options.screenshots) await shot("failure").catch(() => undefined);
  process.exitCode = 1;
} finally {
  await browser.close();
}

// Reloads until the service is in the list: its first window may still be on its way.
async function findService() {
  step = `find service ${service} in the list`;
  const until = Date.now() + Number(options.timeout) * 1e3;
  const entry = page.locator(`[data-service=${JSON.stringify(service)}]`);
  for (;;) {
    await page.goto(new URL(entryQuery, base).href);
    await page.locator('.services[aria-busy="false"]').waitFor({ timeout: 60_000 });
    if ((await entry.count()) > 0) break;
    if (Date.now() > until) throw new Error(`not there; the list has: ${(await page.locator("[data-service]").allInnerTexts()).map((text) => text.replace(/\s+/g, " ")).join(", ") || "nothing"}`);
    await page.waitForTimeout(2000);
  }
  await profileDrawn(page);
  say(`service in the list: ${await entry.getAttribute("aria-label")}`);
  return entry;
}

async function openService(entry) {
  step = `open service ${service}`;
  await entry.click();
  assert.equal(parameter(page, "service"), service);
  await profileDrawn(page);
}

async function hottest() {
  const [frame] = await framesNamed(page, wanted);
  if (!frame) throw new Error(`no frame ${wanted}; drawn are: ${(await page.locator("[data-frame]").evaluateAll((items) => [...new Set(items.map((item) => item.dataset.frame))])).slice(0, 40).join(", ")}`);
  return frame;
}

async function hoverFunction() {
  step = `hover ${wanted} in the flame graph`;
  const frame = await hottest();
  const tooltip = await hover(page, frame);
  assert.equal(tooltip.name, frame.name, "the tooltip at the frame's place names another frame");
  say(`drawn: ${frame.text}`);
  say(`tooltip: ${tooltip.text}`);
  await shot("flame-graph");
}

async function searchFunction() {
  step = `search ${wanted}`;
  await page.keyboard.press("/");
  await page.keyboard.type(wanted);
  const share = await page.locator("[data-matched-share]").filter({ hasText: "matched" }).innerText();
  assert.ok(parseFloat(share) > 0, `"${share}" where a share above zero was expected`);
  assert.ok((await hottest()).matched, "the frame is not highlighted");
  assert.equal(parameter(page, "search"), wanted);
  say(`search: ${share}`);
  await page.keyboard.press("Escape");
  assert.equal(parameter(page, "search"), null, "Escape did not clear the search");
}

async function zoomByClick() {
  step = `zoom to ${wanted} by a click`;
  const before = await hottest();
  await clickFrame(page, before);
  await page.locator('.crumb[aria-current="location"]').waitFor({ timeout: 3000 });
  const canvas = await page.locator(".flame-canvas").boundingBox();
  const after = await hottest();
  assert.ok(after.width > canvas.width - 2, `the frame is ${after.width} wide after the click, the canvas ${canvas.width}`);
  await page.keyboard.press("Escape");
  assert.equal(parameter(page, "zoom"), null, "Escape did not reset the zoom");
}

async function dragAndGoBack() {
  step = "drag the timeline";
  const before = parameter(page, "from");
  await dragTimeline(page, 0.3, 0.995);
  await page.waitForURL(/from=\d+/, { timeout: 3000 });
  const [from, until] = [Number(parameter(page, "from")), Number(parameter(page, "until"))];
  assert.ok(until > from && until - from < 15 * 60e3, `from ${from} until ${until}`);
  await page.locator('.profile[aria-busy="false"]').waitFor({ timeout: 60_000 });
  say(`timeline dragged to ${Math.round((until - from) / 1e3)} s`);
  await page.locator(".plot .u-over").dblclick({ position: { x: 60, y: 20 } });
  await page.waitForURL((url) => url.searchParams.get("from") === before, { timeout: 3000 });
  await profileDrawn(page);
}

async function readTable() {
  step = `find ${wanted} in the table`;
  await page.locator('[data-view="both"]').click();
  await page.locator("[data-function]").first().waitFor();
  await shot("both");
  await page.locator('[data-view="table"]').click();
  await shot("table");
  await page.getByPlaceholder("Filter functions").fill(wanted);
  const row = page.locator("[data-function]", { hasText: wanted }).first();
  await row.waitFor({ timeout: 3000 });
  say(`table: ${(await row.locator("td").allInnerTexts()).map((text) => text.trim().replace(/\s+/g, " ")).join(" | ")}`);
  assert.match(await row.locator("td").nth(2).innerText(), /%/);
}

async function reloadKeepsState() {
  step = "reload the page";
  await page.reload();
  await page.locator("[data-function]").first().waitFor({ timeout: 60_000 });
  assert.equal(await page.locator(".service.selected").getAttribute("data-service"), service);
  await page.goBack();
  await page.locator(".view-both").waitFor({ timeout: 60_000 });
}

async function shot(name) {
  if (!options.screenshots) return;
  mkdirSync(options.screenshots, { recursive: true });
  await page.screenshot({ path: join(options.screenshots, `${name}.png`) });
}

function say(text) {
  console.log(`ui: ${text}`);
}
