// Points of SelectSeries, where empty buckets are left out, as a dense line of values per second.

import type { Interval } from "../state/time";

export interface Rates {
  /** Seconds since the epoch, evenly spaced. */
  times: number[];
  values: number[];
}

export interface Point {
  value?: number;
  timestamp?: string | number;
}

export interface Layer {
  /** The service; empty for all that have no layer of their own. */
  name: string;
  values: number[];
}

export interface TimelineData {
  times: number[];
  /** One layer for one service; for all services the largest ones, the largest first, and the rest. */
  layers: Layer[];
  /** Seconds from the beginning of the first datum to the end of the last. */
  seconds: number;
  /** Seconds that one profile of what is shown covers. */
  windowS: number;
}

/** A value and the time that it was measured over, in milliseconds. */
export interface Span {
  fromMs: number;
  untilMs: number;
  value: number;
}

/** Points `fetchS` apart are asked for, and lines of points `stepS` apart are drawn. */
export interface Steps {
  fetchS: number;
  stepS: number;
}

/** How long after its end a window may still be on its way here. */
const DELIVERY_MS = 30e3;
/** A window this much shorter than the step counts whole where it begins: that moves a tenth of a value at most. */
const NEGLIGIBLE = 10;
const PARTS = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20];

/** The steps for lines of points `stepS` apart: where windows and steps do not fit, points come finer and are spread over the windows. */
export function stepsFor(stepS: number, windowsS: readonly number[]): Steps {
  const fits = (fetchS: number) => windowsS.every((window) => window % fetchS === 0 || fetchS % window === 0 || window * NEGLIGIBLE <= stepS);
  const whole = PARTS.map((parts) => stepS / parts).filter((fetchS) => Number.isInteger(fetchS));
  return { stepS, fetchS: whole.find(fits) ?? whole[whole.length - 1] ?? stepS };
}

/** What each point was measured over: its time is the beginning of its windows. */
export function spansOf(points: readonly Point[], windowS: number, { fetchS, stepS }: Steps): Span[] {
  const isWhole = fetchS === stepS && windowS <= stepS;
  return points
    .filter(({ value = 0 }) => value > 0)
    .map(({ value = 0, timestamp = 0 }) => {
      const at = Number(timestamp);
      // A point sums windows that began up to one step before it.
      return isWhole ? { fromMs: at, untilMs: at + stepS * 1e3, value } : { fromMs: at - Math.max(0, fetchS - windowS) * 1e3, untilMs: at + windowS * 1e3, value };
    });
}

/** When the first datum begins; infinity without any. */
export const firstMs = (spans: readonly Span[]) => spans.reduce((first, { fromMs }) => Math.min(first, fromMs), Infinity);
const lastMs = (spans: readonly Span[]) => spans.reduce((last, { untilMs }) => Math.max(last, untilMs), -Infinity);
const sumOf = (spans: readonly Span[]) => spans.reduce((total, { value }) => total + value, 0);

/** The times of a line over the interval: from the first datum (or `since`) on, without those at the end whose windows are not here yet. */
function timesOf(spans: readonly Span[], { fromMs, untilMs }: Interval, stepS: number, since: number): number[] {
  const grid = stepS * 1e3;
  const end = lastMs(spans);
  const longest = spans.reduce((most, span) => Math.max(most, span.untilMs - span.fromMs), grid);
  const times: number[] = [];
  for (let t = Math.ceil(fromMs / grid) * grid; t <= untilMs; t += grid) {
    const isPending = t + grid > end && t > untilMs - DELIVERY_MS - longest;
    if (t >= since && !isPending) times.push(t / 1e3);
  }
  return times;
}

/** Values per second in the step that begins at each time: every span gives each step what lies in it. */
function valuesAt(times: readonly number[], spans: readonly Span[], stepS: number): number[] {
  const grid = stepS * 1e3;
  const values = times.map(() => 0);
  const start = (times[0] ?? 0) * 1e3;
  for (const { fromMs, untilMs, value } of spans) {
    const first = Math.max(0, Math.floor((fromMs - start) / grid));
    for (let i = first; i < values.length && start + i * grid < untilMs; i++) {
      const inside = Math.min(untilMs, start + (i + 1) * grid) - Math.max(fromMs, start + i * grid);
      if (inside > 0) values[i]! += (value * inside) / (untilMs - fromMs) / stepS;
    }
  }
  return values;
}

export function rates(spans: readonly Span[], interval: Interval, stepS: number, since = firstMs(spans)): Rates {
  const times = timesOf(spans, interval, stepS, since);
  return { times, values: valuesAt(times, spans, stepS) };
}

/** Seconds from the first datum to the last: a profiler that began a minute ago is not averaged over an hour. */
export function secondsCovered(spans: readonly Span[]): number {
  return spans.length === 0 ? 0 : (lastMs(spans) - firstMs(spans)) / 1e3;
}

/** The average of one service among all: windows cut off at either end are not idleness, what is longer is. Others' ends are known to a step. */
export function averageOf(own: readonly Span[], all: readonly Span[], windowS: number, stepS: number): number {
  if (own.length === 0) return 0;
  const near = (mine: number, theirs: number) => (Math.abs(mine - theirs) < (windowS + stepS) * 1e3 ? mine : theirs);
  const length = near(lastMs(own), lastMs(all)) - near(firstMs(own), firstMs(all));
  return length > 0 ? (sumOf(own) * 1e3) / length : 0;
}

const MOST_LAYERS = 6;

/** The largest series each in its own layer, the others together in the last one. A layer ends where the whole does. */
export function stackLayers(series: readonly { name: string; spans: readonly Span[] }[], interval: Interval, stepS: number): { times: number[]; layers: Layer[] } {
  const all = series.flatMap(({ spans }) => spans);
  const times = timesOf(all, interval, stepS, firstMs(all));
  const sorted = [...series].sort((a, b) => sumOf(b.spans) - sumOf(a.spans) || (a.name < b.name ? -1 : 1));
  const own = sorted.slice(0, MOST_LAYERS);
  const rest = sorted.slice(MOST_LAYERS).flatMap(({ spans }) => spans);
  const groups = rest.length > 0 ? [...own, { name: "", spans: rest }] : own;
  return { times, layers: groups.map(({ name, spans }) => ({ name, values: valuesAt(times, spans, stepS) })) };
}
