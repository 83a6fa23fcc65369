// The questions that the page asks: profile types, services, series, flame graphs and the pprof with files and lines.

import type { PprofMessage } from "../profile/detail";
import { arrange, decodeTree, type TreeNode } from "../profile/tree";
import { CPU_TYPE } from "../state/url";
import { formatSelector, selectorOf, type Matcher } from "../state/selector";
import { stepFor, type Interval } from "../state/time";
import { call, callProto } from "./connect";
import { encodeSelectMergeProfile } from "./proto";
import { firstMs, rates, secondsCovered, stackLayers, type Rates, type TimelineData } from "./rates";
import type { LabelPair, NamesResponse, ProfileType, ProfileTypesResponse, SelectSeriesResponse, SeriesResponse, StacktracesResponse } from "./wire";

const MAX_NODES = 16384;

export interface Service {
  name: string;
  types: string[];
  /** Value per second of the ranking type (for CPU: nanoseconds), averaged since the first datum; null without that type. */
  rate: number | null;
  line: Rates;
}

export interface Services {
  list: Service[];
  /** All services together. */
  total: Service;
}

export interface Query {
  type: string;
  service: string;
  filter: string;
  interval: Interval;
}

const range = ({ fromMs, untilMs }: Interval) => ({ start: Math.floor(fromMs), end: Math.ceil(untilMs) });
const labelOf = (labels: LabelPair[] | undefined, name: string) => labels?.find((label) => label.name === name)?.value ?? "";

export async function profileTypes(interval: Interval, signal: AbortSignal): Promise<ProfileType[]> {
  const { profileTypes: types = [] } = await call<ProfileTypesResponse>("ProfileTypes", range(interval), signal);
  return types
    .map(({ ID = "", name = "", sampleType = "", sampleUnit = "", periodType = "", periodUnit = "" }) => ({ ID, name, sampleType, sampleUnit, periodType, periodUnit }))
    .sort((a, b) => Number(b.ID === CPU_TYPE) - Number(a.ID === CPU_TYPE) || a.ID.localeCompare(b.ID));
}

/** Every service of the interval, the busiest first; those without CPU profiles last. */
export async function services(interval: Interval, filter: string, signal: AbortSignal): Promise<Services> {
  const selector = selectorOf("", filter);
  const names = call<SeriesResponse>("Series", { matchers: [selector], labelNames: ["service_name", "__profile_type__"], ...range(interval) }, signal);
  const step = stepFor(interval, 60);
  const [{ labelsSet = [] }, cpu] = await Promise.all([names, selectSeries({ type: CPU_TYPE, service: "", filter, interval }, step, ["service_name"], signal)]);

  const types = new Map<string, Set<string>>();
  for (const { labels } of labelsSet) {
    const name = labelOf(labels, "service_name");
    types.set(name, (types.get(name) ?? new Set()).add(labelOf(labels, "__profile_type__")));
  }
  const all = cpu.series ?? [];
  const points = all.flatMap((series) => series.points ?? []);
  const seconds = secondsCovered(points, step);
  // Lines of all services begin together, where the first datum of any of them is.
  const since = firstMs(points);
  const list = new Map<string, Service>();
  for (const [name, known] of types) list.set(name, { name, types: [...known], rate: null, line: { times: [], values: [] } });
  for (const { labels, points: own = [] } of all) {
    const name = labelOf(labels, "service_name");
    const sum = own.reduce((total, { value = 0 }) => total + value, 0);
    list.set(name, { name, types: [...(types.get(name) ?? [CPU_TYPE])], rate: seconds > 0 ? sum / seconds : 0, line: rates(own, interval, step, since) });
  }
  const sorted = [...list.values()].sort((a, b) => (b.rate ?? -1) - (a.rate ?? -1) || a.name.localeCompare(b.name));
  return { list: sorted, total: totalOf(sorted, points, interval, step) };
}

function totalOf(list: Service[], points: { value?: number; timestamp?: string | number }[], interval: Interval, step: number): Service {
  const rate = list.some((service) => service.rate !== null) ? list.reduce((sum, service) => sum + (service.rate ?? 0), 0) : null;
  return { name: "", types: [...new Set(list.flatMap((service) => service.types))], rate, line: rates(points, interval, step) };
}

export async function timeline(query: Query, signal: AbortSignal): Promise<TimelineData> {
  const step = stepFor(query.interval, 240);
  const { series = [] } = await selectSeries(query, step, query.service === "" ? ["service_name"] : [], signal);
  const points = series.flatMap((one) => one.points ?? []);
  const named = series.map((one) => ({ name: labelOf(one.labels, "service_name") || query.service, points: one.points ?? [] }));
  return { ...stackLayers(named, points, query.interval, step), seconds: secondsCovered(points, step) };
}

function selectSeries(query: Query, step: number, groupBy: string[], signal: AbortSignal): Promise<SelectSeriesResponse> {
  // The first bucket must end on the grid of the steps, or every refresh would cut the windows differently.
  const grid = step * 1e3;
  const start = Math.floor(query.interval.fromMs / grid) * grid + grid;
  const end = Math.max(start, Math.ceil(query.interval.untilMs / grid) * grid);
  return call("SelectSeries", { profileTypeID: query.type, labelSelector: selectorOf(query.service, query.filter), start, end, step, groupBy }, signal);
}

export async function flameGraph(query: Query, signal: AbortSignal): Promise<TreeNode | null> {
  const body = { profileTypeID: query.type, labelSelector: selectorOf(query.service, query.filter), maxNodes: MAX_NODES, ...range(query.interval) };
  const { flamegraph } = await call<StacktracesResponse>("SelectMergeStacktraces", body, signal);
  const root = decodeTree(flamegraph);
  return root && arrange(root);
}

export function pprof(query: Query, signal: AbortSignal): Promise<PprofMessage> {
  const body = { profileTypeID: query.type, labelSelector: selectorOf(query.service, query.filter), ...range(query.interval) };
  return call("SelectMergeProfile", body, signal);
}

/** The pprof's own bytes, to be saved. */
export function pprofBytes(query: Query, signal: AbortSignal): Promise<ArrayBuffer> {
  const { start, end } = range(query.interval);
  return callProto("SelectMergeProfile", encodeSelectMergeProfile(query.type, selectorOf(query.service, query.filter), start, end), signal);
}

export async function labelNames(interval: Interval, signal: AbortSignal): Promise<string[]> {
  const { names = [] } = await call<NamesResponse>("LabelNames", { matchers: [], ...range(interval) }, signal);
  return names.filter((name) => !name.startsWith("__") && name !== "service_name");
}

export async function labelValues(name: string, others: Matcher[], interval: Interval, signal: AbortSignal): Promise<string[]> {
  const { names = [] } = await call<NamesResponse>("LabelValues", { name, matchers: [formatSelector(others)], ...range(interval) }, signal);
  return names;
}
