// What a person does on the page, as functions of a Playwright page.

/** Waits until the profile that the page asked for is drawn with its details. */
export async function profileDrawn(page, timeout = 60_000) {
  await page.locator('.profile[aria-busy="false"] [data-frame]').first().waitFor({ state: "attached", timeout });
  await page.locator('html[data-profile="detailed"]').waitFor({ state: "attached", timeout });
}

/** Places of the frames whose name is `name`, or contains it where none is just that; the widest first. */
export async function framesNamed(page, name) {
  const frames = await page.locator("[data-frame]").evaluateAll((items) =>
    items.map((item) => ({
      name: item.dataset.frame,
      x: Number(item.dataset.x),
      y: Number(item.dataset.y),
      width: Number(item.dataset.width),
      height: Number(item.dataset.height),
      text: item.textContent,
      matched: item.dataset.matched === "true",
    })),
  );
  const exact = frames.filter((frame) => frame.name === name);
  return (exact.length > 0 ? exact : frames.filter((frame) => frame.name.includes(name))).sort((a, b) => b.width - a.width);
}

/** The middle of a frame's bar on the screen; scrolls it into sight first. */
export async function placeOf(page, frame) {
  await page.locator(".flame").evaluate((box, y) => (box.scrollTop = Math.max(0, y - box.clientHeight / 2)), frame.y);
  await page.waitForTimeout(100);
  const scrolled = await page.locator(".flame").evaluate((box) => box.scrollTop);
  const box = await page.locator(".flame-canvas").boundingBox();
  return { x: box.x + frame.x + frame.width / 2, y: box.y + frame.y - scrolled + frame.height / 2 };
}

export async function hover(page, frame) {
  const { x, y } = await placeOf(page, frame);
  await page.mouse.move(x - 1, y);
  await page.mouse.move(x, y);
  const tooltip = page.locator(".tooltip");
  await tooltip.waitFor({ timeout: 3000 });
  return { name: await tooltip.locator(".tooltip-name").innerText(), text: (await tooltip.innerText()).replace(/\s*\n\s*/g, " | ") };
}

export async function clickFrame(page, frame) {
  const { x, y } = await placeOf(page, frame);
  await page.mouse.click(x, y);
}

/** Where an element is; it may come later, and be drawn anew meanwhile. */
async function boxOf(locator) {
  for (;;) {
    await locator.waitFor({ timeout: 5000 });
    const box = await locator.boundingBox();
    if (box) return box;
  }
}

/** Drags over a part of the timeline, given in shares of its width. */
export async function dragTimeline(page, from, until) {
  const box = await boxOf(page.locator(".plot .u-over"));
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * from, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * ((from + until) / 2), y, { steps: 4 });
  await page.mouse.move(box.x + box.width * until, y, { steps: 4 });
  await page.mouse.up();
}

export const parameter = (page, name) => new URL(page.url()).searchParams.get(name);
