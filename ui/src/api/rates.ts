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
  /** Seconds from the first to the last datum. */
  seconds: number;
}

/** How long after its end a window may still be on its way here. */
const DELIVERY_MS = 30e3;

/** When the first datum is; infinity without any. */
export function firstMs(points: readonly Point[]): number {
  return points.reduce((first, { value = 0, timestamp = 0 }) => (value > 0 ? Math.min(first, Number(timestamp)) : first), Infinity);
}

/**
 * Empty buckets are zero, but those before the first datum (or `since`) and those at the end whose windows are not here yet are left
 * out. Points of one time are added.
 */
export function rates(points: readonly Point[], { fromMs, untilMs }: Interval, step: number, since = firstMs(points)): Rates {
  const grid = step * 1e3;
  const sums = sumByTime(points);
  const times: number[] = [];
  const values: number[] = [];
  const start = Math.floor(fromMs / grid) * grid + grid;
  for (let t = start; t <= untilMs; t += grid) {
    if (t < since) continue;
    times.push(t / 1e3);
    values.push((sums.get(t) ?? 0) / step);
  }
  while (values.length > 0 && values[values.length - 1] === 0 && times[times.length - 1]! * 1e3 > untilMs - DELIVERY_MS - grid) {
    values.pop();
    times.pop();
  }
  return { times, values };
}

/** Seconds from the first to the last datum: a profiler that began a minute ago is not averaged over an hour. */
export function secondsCovered(points: readonly Point[], step: number): number {
  let first = Infinity;
  let last = -Infinity;
  for (const { value = 0, timestamp = 0 } of points) {
    if (!(value > 0)) continue;
    first = Math.min(first, Number(timestamp));
    last = Math.max(last, Number(timestamp));
  }
  return last < first ? 0 : (last - first) / 1e3 + step;
}

const MOST_LAYERS = 6;

/** The largest series each in its own layer, the others together in the last one. */
export function stackLayers(series: readonly { name: string; points: readonly Point[] }[], all: readonly Point[], interval: Interval, step: number): { times: number[]; layers: Layer[] } {
  const { times } = rates(all, interval, step);
  const sum = (points: readonly Point[]) => points.reduce((total, { value = 0 }) => total + value, 0);
  const sorted = [...series].sort((a, b) => sum(b.points) - sum(a.points) || (a.name < b.name ? -1 : 1));
  const own = sorted.slice(0, MOST_LAYERS);
  const rest = sorted.slice(MOST_LAYERS).flatMap(({ points }) => points);
  const groups = rest.length > 0 ? [...own, { name: "", points: rest }] : own;
  // A layer ends where the whole does, though its own last buckets are empty.
  const layers = groups.map(({ name, points }) => {
    const sums = sumByTime(points);
    return { name, values: times.map((t) => (sums.get(Math.round(t * 1e3)) ?? 0) / step) };
  });
  return { times, layers };
}

function sumByTime(points: readonly Point[]): Map<number, number> {
  const sums = new Map<number, number>();
  for (const { value = 0, timestamp = 0 } of points) sums.set(Number(timestamp), (sums.get(Number(timestamp)) ?? 0) + value);
  return sums;
}
