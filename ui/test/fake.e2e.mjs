// The page in headless Chromium over made-up data: hostile names, empty and failing servers, keys, stale answers, speed.
// node test/fake.e2e.mjs [--chromium PATH]

import assert from "node:assert/strict";
import { test } from "node:test";
import { bigService, machine } from "./fake/data.mjs";
import { startFake } from "./fake/server.mjs";
import { openBrowser } from "./browser/launch.mjs";
import { clickFrame, dragTimeline, framesNamed, hover, parameter, profileDrawn } from "./browser/page.mjs";

/** Opens the page at `query` over a server of its own, runs `act`, and fails on what a page must never do. */
async function onPage({ services = machine(), query = "?refresh=off", delayMs = 0, expected = [], ...browserOptions }, act) {
  const server = await startFake({ machine: services, delayMs });
  const origin = `http://127.0.0.1:${server.address().port}`;
  const { browser, page, faults } = await openBrowser({ origin, ...browserOptions });
  try {
    await page.goto(`${origin}/${query}`);
    await act(page, server);
    assert.deepEqual(faults.filter((fault) => !expected.some((known) => known.test(fault))), []);
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}

test("hostile names are shown and do nothing", () =>
  onPage({}, async (page) => {
    await page.locator('[data-service^="<b>hostile"]').click();
    await profileDrawn(page);
    for (const name of ["<script>alert('name')</script>", '"><img src=x onerror=alert(2)>', "{{7*7}} ${7*7} <%= 7*7 %>", "left\ufffdgnp.exe\ufffd", "__proto__"]) {
      const [frame] = await framesNamed(page, name);
      assert.ok(frame, name);
      assert.equal((await hover(page, frame)).name, name);
    }
    await page.locator('[data-view="table"]').click();
    assert.equal(await page.locator("[data-function]").count(), 7);
    assert.equal(await page.locator("img, script:not([src])").count(), 0);
  }));

test("an empty server is told from an empty range", async () => {
  await onPage({ services: [] }, async (page) => {
    await page.getByText("No profiles yet: is the agent running?").waitFor();
    await page.getByText("pilotlight agent --server http://127.0.0.1").waitFor();
  });
  await onPage({ query: "?refresh=off&filter=comm%3D%22nobody%22" }, async (page) => {
    await page.getByText("Nothing in this range").waitFor();
    await page.locator(".state").getByRole("button", { name: "Clear the label filter" }).click();
    await profileDrawn(page);
  });
});

test("an empty server is asked again until there is something", async () => {
  const services = [];
  await onPage({ services, query: "" }, async (page) => {
    await page.getByText("No profiles yet").waitFor();
    services.push(...machine());
    await profileDrawn(page);
  });
});

test("the server's own words are shown, as text", () =>
  onPage({ query: "?refresh=off&filter=comm%3D%22boom%22", expected: [/status of 400/] }, async (page) => {
    const alert = page.getByRole("alert");
    await alert.waitFor();
    assert.match(await alert.innerText(), /<img src=x onerror=alert\(3\)> is refused/);
  }));

test("a server that is gone is said to be gone, and back when it is back", () =>
  onPage({ expected: [/ERR_CONNECTION_REFUSED/, /ERR_FAILED/, /ERR_EMPTY_RESPONSE/] }, async (page) => {
    await profileDrawn(page);
    await page.route("**/querier.v1.**", (route) => route.abort());
    await page.getByRole("button", { name: "Refresh now" }).click();
    await page.getByText("This is not up to date: the server does not answer").waitFor();
    assert.ok((await framesNamed(page, "indexer::main")).length > 0);
    await page.reload();
    await page.getByText("The server could not answer").waitFor();
    await page.unroute("**/querier.v1.**");
    await page.getByRole("button", { name: "Try again" }).click();
    await profileDrawn(page);
  }));

test("an answer that comes too late does not replace a newer one", () =>
  onPage({ delayMs: 50 }, async (page) => {
    await profileDrawn(page);
    await page.route("**/SelectMergeStacktraces", async (route) => {
      if (route.request().postData()?.includes("postgres")) await new Promise((resolve) => setTimeout(resolve, 1200));
      await route.continue().catch(() => undefined);
    });
    await page.locator('[data-service="postgres"]').click();
    await page.locator('[data-service="indexer"]').click();
    await profileDrawn(page);
    await page.waitForTimeout(1500);
    assert.ok((await framesNamed(page, "indexer::main")).length > 0);
    assert.equal((await framesNamed(page, "PostmasterMain")).length, 0);
  }));

const steady = (name, cores, windowS, phaseS) => ({ name, cores, period: 60, steady: true, windowS, phaseS, stacks: [[[{ name: "main", file: "", line: 0, module: "/bin/a", inlined: false }], 1]] });
/** The numbers in the timeline's label: average and most. */
const spoken = async (page) => /: ([\d.]+) on average, ([\d.]+) at most/.exec(await page.locator(".plot[aria-label*=average]").getAttribute("aria-label")).slice(1).map(Number);

test("cores are those that were used, whatever windows the profiles have", () =>
  onPage({ services: [steady("agents", 0.5), steady("quarter", 1, 15, 4), steady("minute", 2, 60), steady("long", 1.5, 300)], query: "?refresh=off" }, async (page) => {
    for (const [service, cores] of [["agents", 0.5], ["quarter", 1], ["minute", 2], ["long", 1.5]]) {
      for (const from of ["now-15m", "now-1h"]) {
        await page.goto(`${new URL(page.url()).origin}/?refresh=off&from=${from}&service=${service}`);
        await profileDrawn(page);
        const close = (have, what) => assert.ok(Math.abs(have - cores) < 0.08 * cores, `${service} ${from} ${what}: ${have} instead of ${cores}`);
        const listed = await page.locator(`[data-service="${service}"]`).getAttribute("aria-label");
        close(Number(/, ([\d.]+) cores/.exec(listed)[1]), "in the list");
        // At the edges a bucket may be cut.
        const [average, most] = await spoken(page);
        assert.ok(Math.abs(average - cores) < 0.15 * cores && most < 1.35 * cores, `${service} ${from}: ${average} on average, ${most} at most`);
        const [frame] = await framesNamed(page, "main");
        close(Number(/([\d.]+) cores/.exec((await hover(page, frame)).text)[1]), "in the tooltip");
      }
    }
  }));

test("a piece of the timeline shorter than a window zooms to the whole window", () =>
  onPage({ services: [steady("minute", 2, 60), steady("agents", 0.5)] }, async (page) => {
    for (const [service, windowS] of [["minute", 60], ["agents", 10], ["", 10]]) {
      await page.goto(`${new URL(page.url()).origin}/?refresh=off&from=now-15m&service=${service}`);
      await profileDrawn(page);
      await dragTimeline(page, 0.5, 0.507);
      await page.waitForURL(/until=\d/);
      await profileDrawn(page);
      assert.ok((await framesNamed(page, "main")).length > 0);
      const [from, until] = ["from", "until"].map((name) => Number(parameter(page, name)));
      assert.ok(from % (windowS * 1e3) === 0 && (until + 1) % (windowS * 1e3) === 0, `${service}: ${from} to ${until}`);
      assert.ok(until - from <= 2 * windowS * 1e3, `${service}: ${(until - from) / 1e3} s`);
    }
  }));

test("a filter of the URL that nobody understands is not left out", () =>
  onPage({ query: "?refresh=off&filter=broken(", expected: [/status of 400/] }, async (page) => {
    await page.getByText("The server could not answer").waitFor();
    await page.getByText("label selector cannot be read").waitFor();
    assert.equal(await page.locator("[data-frame]").count(), 0);
    await page.locator(".state").getByRole("button", { name: "Clear the label filter" }).click();
    await profileDrawn(page);
  }));

test("code without a file is not taken for the kernel", () => {
  const frame = (name, module) => ({ name, file: "", line: 0, module, inlined: false });
  const stacks = [[[frame("main", "/usr/bin/node"), frame("[jit]+0x7f0001", "[jit]")], 7], [[frame("main", "/usr/bin/node"), frame("[stack_fault]", "[unknown]")], 2], [[frame("main", "/usr/bin/node"), frame("nft_do_chain", "[nf_tables]")], 1]];
  return onPage({ services: [{ ...steady("node", 1), stacks }], query: "?refresh=off&service=node" }, async (page) => {
    await profileDrawn(page);
    for (const [name, isKernel] of [["[jit]+0x7f0001", false], ["[stack_fault]", false], ["nft_do_chain", true]]) {
      const [found] = await framesNamed(page, name);
      assert.equal(/\bkernel\b/.test((await hover(page, found)).text), isKernel, name);
    }
  });
});

test("keys walk, zoom and go back; the URL brings the same view again", () =>
  onPage({ query: "?refresh=off&service=indexer" }, async (page) => {
    await profileDrawn(page);
    await page.locator(".flame").focus();
    for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown"]) await page.keyboard.press(key);
    assert.equal(await page.locator(".tooltip-name").innerText(), "indexer::posting::Posting::merge");
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.locator(".tooltip-name").innerText(), "indexer::store::Segment::write");
    await page.keyboard.press("Enter");
    await page.locator('.crumb[aria-current="location"]', { hasText: "Segment::write" }).waitFor();
    const zoom = parameter(page, "zoom");
    await page.reload();
    await page.locator('.crumb[aria-current="location"]', { hasText: "Segment::write" }).waitFor();
    assert.equal(parameter(page, "zoom"), zoom);
    await page.goBack();
    await page.locator(".crumbs").waitFor({ state: "detached" });
  }));

test("label filter: offers, applies, and rejects what does not parse", () =>
  onPage({ query: "?refresh=off&service=checkout" }, async (page) => {
    const sent = [];
    page.on("request", (request) => request.url().endsWith("SelectMergeStacktraces") && sent.push(request.postDataJSON().labelSelector));
    await profileDrawn(page);
    const box = page.getByRole("combobox", { name: "Label filter" });
    await box.click();
    await page.getByRole("option", { name: "comm" }).click();
    await page.getByRole("option", { name: "worker" }).click();
    await page.waitForURL(/filter=/);
    await page.waitForTimeout(300);
    assert.equal(sent.at(-1), '{service_name="checkout",comm="worker"}');
    await box.fill("comm ~ x");
    await page.getByRole("alert").waitFor();
    await box.press("Enter");
    assert.equal(parameter(page, "filter"), 'comm="worker"');
  }));

test("pprof, folded and SVG are saved", () =>
  onPage({ query: "?refresh=off&service=checkout" }, async (page) => {
    await profileDrawn(page);
    for (const [title, ending] of [["pprof", ".pb.gz"], ["Folded stacks", ".folded"], ["Flame graph", ".svg"]]) {
      await page.getByRole("button", { name: "Download" }).click();
      const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".menu-item", { hasText: title }).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^checkout-cpu-\\d{8}T\\d{6}\\${ending}$`));
    }
  }));

test("ten thousand frames are drawn as one scrolls", () =>
  onPage({ services: [...machine(), bigService(10_000)], query: "?refresh=off&service=big", width: 1600, height: 900 }, async (page) => {
    await profileDrawn(page);
    const frame = (await framesNamed(page, "big::"))[0];
    const times = [];
    for (let i = 0; i < 5; i++) {
      const begun = await page.evaluate(() => performance.now());
      await clickFrame(page, frame);
      await page.locator(".crumbs").waitFor();
      await page.keyboard.press("Escape");
      await page.locator(".crumbs").waitFor({ state: "detached" });
      times.push((await page.evaluate(() => performance.now())) - begun);
    }
    const longest = await page.evaluate(() => new Promise((resolve) => {
      const begun = performance.now();
      document.querySelector(".flame").scrollTop = 40;
      requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begun)));
    }));
    console.log(`# zoom in and out: ${times.map((ms) => ms.toFixed(0)).join(", ")} ms; two frames after a scroll: ${longest.toFixed(0)} ms`);
    assert.ok(longest < 300, `two frames took ${longest} ms`);
  }));

for (const colorScheme of ["dark", "light"]) {
  test(`everything can be read and is named: ${colorScheme}`, () =>
    onPage({ query: "?refresh=off&service=checkout&view=both", colorScheme }, async (page) => {
      await profileDrawn(page);
      const nameless = await page.locator("button, input, select").evaluateAll((elements) => elements.filter((element) => !(element.getAttribute("aria-label") || element.innerText?.trim() || element.labels?.length)).map((element) => element.outerHTML));
      assert.deepEqual(nameless, []);
      const pale = await page.evaluate(palestTexts);
      assert.deepEqual(pale, []);
    }));
}

/** Runs on the page: texts whose contrast with what is behind them is below 4.5, with the number. */
function palestTexts() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const over = (colors) => {
    context.clearRect(0, 0, 1, 1);
    for (const color of colors) {
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [];
  for (const element of document.querySelectorAll("#app *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "");
    if (!own || element.closest(".hidden, option") || !element.getClientRects().length) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const back = light(over(behind));
    const text = light(over([...behind, getComputedStyle(element).color]));
    const contrast = (Math.max(back, text) + 0.05) / (Math.min(back, text) + 0.05);
    if (contrast < 4.5) pale.push(`${element.className || element.tagName} ${contrast.toFixed(2)}: ${element.textContent.slice(0, 30)}`);
  }
  return [...new Set(pale)];
}
