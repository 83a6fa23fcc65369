// A headless Chromium with one page that keeps account of everything a page of ours must never do.

import { chromium } from "playwright-core";

// Without these Chromium looks for its makers' hosts at every start; a root user has no sandbox.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** `faults` fills up with console errors, broken policies, uncaught exceptions and requests to other origins. */
export async function openBrowser({ executable = "/usr/bin/chromium", origin, colorScheme = "dark", width = 1280, height = 800 }) {
  const browser = await chromium.launch({ executablePath: executable, headless: true, args: FLAGS });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce", locale: "en-US", acceptDownloads: true });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} blocked ${event.blockedURI || event.sample}`));
  });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "blob:" && url.origin !== origin) faults.push(`request to another origin: ${request.url()}`);
  });
  return { browser, page, faults };
}
