// How long the profiles are that stand behind points: nobody says it, but profiles of one origin follow each other without a gap.

import type { Interval } from "../state/time";
import { call } from "./connect";
import type { NamesResponse, SelectSeriesResponse } from "./wire";

/** Seconds that one profile covers, by service. */
export interface Windows {
  of: (service: string) => number;
  /** Of the agents, and of services that show too little to tell. */
  usual: number;
  /** The distinct ones. */
  all: number[];
}

export const DEFAULT_WINDOW_S = 10;
/** The longest windows are ten minutes: four of them. */
const LOOK_BACK_MS = 40 * 60e3;
/** Agents seldom get other settings. */
const KEEP_MS = 60e3;
const MOST_SERIES = 200;
/** Labels that do not tell one pushing process from another. */
const AGENT_LABELS = new Set(["comm", "exe", "cgroup", "systemd_unit", "node", "pid"]);

const kept = new Map<string, { askedMs: number; untilMs: number; windows: Promise<Windows> }>();

/** The windows of a profile type around the interval; where the server cannot say, the usual ones. */
export function windowsOf(type: string, interval: Interval): Promise<Windows> {
  const old = kept.get(type);
  const nowMs = Date.now();
  if (old && nowMs - old.askedMs < KEEP_MS && Math.abs(interval.untilMs - old.untilMs) < KEEP_MS) return old.windows;
  const windows = ask(type, interval.untilMs).catch(() => uniform(DEFAULT_WINDOW_S));
  kept.set(type, { askedMs: nowMs, untilMs: interval.untilMs, windows });
  return windows;
}

export const uniform = (seconds: number): Windows => ({ of: () => seconds, usual: seconds, all: [seconds] });

async function ask(type: string, untilMs: number): Promise<Windows> {
  const signal = AbortSignal.timeout(10_000);
  const range = { start: Math.floor(untilMs - LOOK_BACK_MS), end: Math.ceil(untilMs) };
  const select = async (labelSelector: string, groupBy: string[]) => {
    const body = { profileTypeID: type, labelSelector, step: 1, groupBy, limit: MOST_SERIES, ...range };
    const { series = [] } = await call<SelectSeriesResponse>("SelectSeries", body, signal);
    return series.map(({ labels, points = [] }) => ({
      service: labels?.find(({ name }) => name === "service_name")?.value ?? "",
      times: points.map(({ timestamp = 0 }) => Number(timestamp) / 1e3),
    }));
  };
  const { names = [] } = await call<NamesResponse>("LabelNames", { matchers: [], ...range }, signal);
  const telling = names.filter((name) => !name.startsWith("__") && !AGENT_LABELS.has(name));
  // Only the agent knows threads by name. All of a node comes from one agent, which at least sees itself in every window.
  const [agents, others] = await Promise.all([select('{comm!=""}', ["node"]), select('{comm=""}', [...new Set(["service_name", ...telling])])]);
  return estimate(agents.map(({ times }) => times), others);
}

/** `agents` has a list of times for each node, `others` one for each series of everybody else. */
export function estimate(agents: readonly number[][], others: readonly { service: string; times: number[] }[]): Windows {
  const own = new Map<string, number[]>();
  for (const { service, times } of others) {
    const length = settled(times);
    if (length !== null) own.set(service, [...(own.get(service) ?? []), length]);
  }
  const nodes = agents.map((times) => settled(times) ?? lastGap(times)).filter((length) => length !== null);
  const all = nodes.length > 0 ? nodes : [...own.values()].flat();
  const last = others.map(({ times }) => lastGap(times)).filter((gap) => gap !== null);
  const usual = median(all.length > 0 ? all : last) ?? DEFAULT_WINDOW_S;
  const byService = new Map([...own].map(([service, lengths]) => [service, median(lengths)!]));
  return { of: (service) => byService.get(service) ?? usual, usual, all: [...new Set([usual, ...byService.values()])] };
}

const gapsOf = (times: readonly number[]) => times.slice(1).map((time, i) => time - times[i]!).filter((gap) => gap > 0);

function lastGap(times: readonly number[]): number | null {
  const gaps = gapsOf(times);
  return gaps[gaps.length - 1] ?? null;
}

/**
 * The gap that most of the short ones agree on; null where there is none. Gaps are longer where nothing ran, and a few are shorter
 * where a process began anew; clocks of clients waver by a second.
 */
export function settled(times: readonly number[]): number | null {
  const gaps = gapsOf(times).sort((a, b) => a - b);
  const short = gaps[Math.floor(gaps.length / 4)];
  if (short === undefined || gaps.length < 2) return null;
  const alike = gaps.filter((gap) => Math.abs(gap - short) <= Math.max(1, 0.15 * short));
  const enough = gaps.length < 3 ? alike.length === gaps.length : alike.length >= gaps.length / 2;
  return enough ? median(alike) : null;
}

function median(values: readonly number[]): number | null {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? null;
}
