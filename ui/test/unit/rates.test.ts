// Points of windows of any length become lines of the cores that were really used.

import assert from "node:assert/strict";
import { test } from "node:test";
import { averageOf, firstMs, rates, secondsCovered, spansOf, stackLayers, stepsFor, type Point, type Span, type Steps } from "../../src/api/rates";
import { estimate, settled } from "../../src/api/windows";
import { stepFor, type Interval } from "../../src/state/time";

const START = 1_700_000_000;

/** A second of the first window, the length of all, and when the last of them has ended. */
function pushes(windowS: number, phaseS: number, hours: number, cores: number): { at: number; value: number }[] {
  const first = Math.ceil(START / windowS) * windowS + phaseS;
  const count = Math.floor((hours * 3600 - phaseS) / windowS);
  return Array.from({ length: count }, (_, i) => ({ at: first + i * windowS, value: cores * windowS * 1e9 }));
}

/** As the server sums: a point holds what came after the point before it. */
function points(all: readonly { at: number; value: number }[], { fromMs, untilMs }: Interval, { fetchS }: Steps): Point[] {
  const sums = new Map<number, number>();
  for (const { at, value } of all) {
    const bucket = Math.ceil(at / fetchS) * fetchS * 1e3;
    if (bucket >= fromMs && bucket <= untilMs) sums.set(bucket, (sums.get(bucket) ?? 0) + value);
  }
  return [...sums].map(([time, value]) => ({ timestamp: String(time), value }));
}

test("cores are right for windows of 1 s to 10 min, aligned or not", () => {
  for (const [windowS, phaseS] of [[1, 0], [2, 0], [7, 3], [10, 0], [10, 4], [15, 0], [15, 11], [30, 7], [45, 0], [60, 0], [60, 37], [300, 0], [600, 0], [600, 123]] as const) {
    for (const hours of [0.25, 1, 6, 24]) {
      if (windowS > 60 && hours < 1) continue;
      const interval = { fromMs: START * 1e3, untilMs: (START + hours * 3600) * 1e3 };
      const steps = stepsFor(stepFor(interval, 240, windowS), [windowS]);
      const spans = spansOf(points(pushes(windowS, phaseS, hours, 1.5), interval, steps), windowS, steps);
      const { values } = rates(spans, interval, steps.stepS);
      // Buckets at either end may hold fewer windows than others.
      const inner = values.slice(1, -2).map((value) => value / 1e9);
      assert.ok(inner.length >= 2, `${windowS} s over ${hours} h: ${inner.length} points`);
      // Where a tenth of a step is more than a window, one may be in the next bucket.
      const tolerance = windowS * 10 <= steps.stepS ? (1.5 * windowS) / steps.stepS + 0.001 : 0.05;
      for (const value of inner) assert.ok(Math.abs(value - 1.5) < tolerance, `${windowS}+${phaseS} s over ${hours} h in steps of ${JSON.stringify(steps)}: ${value} cores`);
      const average = averageOf(spans, spans, windowS, steps.stepS) / 1e9;
      assert.ok(Math.abs(average - 1.5) < 0.1, `${windowS}+${phaseS} s over ${hours} h: ${average} cores on average`);
    }
  }
});

test("a window longer than the step is spread over it", () => {
  const steps = stepsFor(10, [60]);
  const spans = spansOf([{ timestamp: "60000", value: 60 }, { timestamp: "120000", value: 120 }], 60, steps);
  assert.deepEqual(rates(spans, { fromMs: 50_000, untilMs: 200_000 }, 10), { times: [60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170], values: [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2] });
  assert.equal(secondsCovered(spans), 120);
});

test("windows that do not fit into the step come finer", () => {
  assert.deepEqual([stepsFor(20, [15]).fetchS, stepsFor(20, [10]).fetchS, stepsFor(10, [60, 10]).fetchS, stepsFor(3600, [15]).fetchS, stepsFor(20, [14]).fetchS, stepsFor(1, [7]).fetchS], [5, 20, 10, 3600, 2, 1]);
});

test("points become a dense line from the first datum to the last window that is here", () => {
  const steps = { fetchS: 10, stepS: 10 };
  const spans = spansOf([{ timestamp: "20000", value: 50 }, { timestamp: "40000", value: 30 }, { timestamp: "40000", value: 10 }], 10, steps);
  assert.deepEqual(rates(spans, { fromMs: 5_000, untilMs: 60_000 }, 10), { times: [20, 30, 40], values: [5, 0, 4] });
  assert.deepEqual(rates([], { fromMs: 0, untilMs: 100_000 }, 10).values, []);
  assert.deepEqual(rates(spans, { fromMs: 5_000, untilMs: 60_000 }, 10, 10_000).values, [0, 5, 0, 4]);
  assert.equal(secondsCovered(spans), 30);
  assert.equal(secondsCovered([]), 0);
});

test("a service of longer windows is averaged over its own, an idle one over all", () => {
  const span = (from: number, until: number, value: number): Span => ({ fromMs: from * 1e3, untilMs: until * 1e3, value });
  const all = [span(0, 10, 10), span(890, 900, 10)];
  assert.equal(averageOf([span(50, 110, 60), span(110, 850, 740)], all, 60, 10), 1);
  assert.equal(averageOf([span(400, 410, 9)], all, 10, 10), 0.01);
  // Others' first and last points are known to a step: this is no idleness.
  assert.equal(averageOf([span(350, 650, 300)], [span(0, 1000, 1), span(350, 650, 300)], 300, 60), 1);
  assert.equal(averageOf([], all, 10, 10), 0);
});

test("layers of different windows stand on one grid", () => {
  const steps = stepsFor(10, [60, 10]);
  const minute = spansOf([{ timestamp: "60000", value: 600 }], 60, steps);
  const ten = spansOf([60, 70, 80, 90, 100, 110].map((t) => ({ timestamp: t * 1e3, value: 10 })), 10, steps);
  const { layers } = stackLayers([{ name: "ten", spans: ten }, { name: "minute", spans: minute }], { fromMs: 60_000, untilMs: 119_999 }, 10);
  assert.deepEqual(layers, [{ name: "minute", values: [10, 10, 10, 10, 10, 10] }, { name: "ten", values: [1, 1, 1, 1, 1, 1] }]);
  assert.equal(firstMs([...minute, ...ten]), 60_000);
});

test("the length of windows shows in the gaps between them", () => {
  const every = (step: number, count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i * step);
  assert.equal(settled(every(15, 20, 4)), 15);
  assert.equal(settled([0, 15, 29, 45, 60, 74, 90]), 15);
  // Idle for a while, and begun anew.
  assert.equal(settled([0, 60, 120, 600, 660, 667, 727, 787]), 60);
  assert.equal(settled([0, 600, 1200]), 600);
  assert.equal(settled([0, 60]), null);
  assert.equal(settled([0, 10, 200, 1000]), null);
});

test("services of the agent share its windows, others have their own", () => {
  const every = (step: number, count: number) => Array.from({ length: count }, (_, i) => i * step);
  const windows = estimate([every(10, 100), every(10, 90), every(60, 10)], [
    { service: "sdk", times: every(15, 30) },
    // A second instance in between.
    { service: "sdk", times: every(15, 30).map((time) => time + 6) },
    { service: "new", times: [1200] },
  ]);
  assert.deepEqual(["sdk", "new", "cron"].map(windows.of), [15, 10, 10]);
  assert.deepEqual([...windows.all].sort(), [10, 15]);
  // An agent that has begun within its first window.
  assert.equal(estimate([[37, 60, 120]], []).usual, 60);
  assert.equal(estimate([], [{ service: "sdk", times: [0, 15] }]).of("sdk"), 15);
  assert.equal(estimate([], []).usual, 10);
});
