// The questions that the page asks: profile types, services, series, flame graphs and the pprof with files and lines.

import type { PprofMessage } from "../profile/detail";
import { arrange, decodeTree, type TreeNode } from "../profile/tree";
import { CPU_TYPE } from "../state/url";
import { formatSelector, selectorOf, type Matcher } from "../state/selector";
import { stepFor, type Interval } from "../state/time";
import { call, callProto } from "./connect";
import { encodeSelectMergeProfile } from "./proto";
import { averageOf, firstMs, rates, secondsCovered, spansOf, stackLayers, stepsFor, type Rates, type Span, type Steps, type TimelineData } from "./rates";
import { windowsOf, type Windows } from "./windows";
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
  const windows = await windowsOf(CPU_TYPE, interval);
  const steps = stepsOf(interval, 60, windows, "");
  const [{ labelsSet = [] }, cpu] = await Promise.all([names, selectSeries({ type: CPU_TYPE, service: "", filter, interval }, steps, ["service_name"], signal)]);

  const types = new Map<string, Set<string>>();
  for (const { labels } of labelsSet) {
    const name = labelOf(labels, "service_name");
    types.set(name, (types.get(name) ?? new Set()).add(labelOf(labels, "__profile_type__")));
  }
  const named = spansBySeries(cpu, "", windows, steps);
  const all = named.flatMap(({ spans }) => spans);
  // Lines of all services begin together, where the first datum of any of them is.
  const since = firstMs(all);
  const list = new Map<string, Service>();
  for (const [name, known] of types) list.set(name, { name, types: [...known], rate: null, line: { times: [], values: [] } });
  for (const { name, spans } of named) {
    const rate = averageOf(spans, all, windows.of(name), steps.stepS);
    list.set(name, { name, types: [...(types.get(name) ?? [CPU_TYPE])], rate, line: rates(spans, interval, steps.stepS, since) });
  }
  const sorted = [...list.values()].sort((a, b) => (b.rate ?? -1) - (a.rate ?? -1) || a.name.localeCompare(b.name));
  return { list: sorted, total: totalOf(sorted, rates(all, interval, steps.stepS)) };
}

function totalOf(list: Service[], line: Rates): Service {
  const rate = list.some((service) => service.rate !== null) ? list.reduce((sum, service) => sum + (service.rate ?? 0), 0) : null;
  return { name: "", types: [...new Set(list.flatMap((service) => service.types))], rate, line };
}

export async function timeline(query: Query, signal: AbortSignal): Promise<TimelineData> {
  const windows = await windowsOf(query.type, query.interval);
  const steps = stepsOf(query.interval, 240, windows, query.service);
  const answer = await selectSeries(query, steps, query.service === "" ? ["service_name"] : [], signal);
  const named = spansBySeries(answer, query.service, windows, steps);
  const windowS = query.service === "" ? windows.usual : windows.of(query.service);
  return { ...stackLayers(named, query.interval, steps.stepS), seconds: secondsCovered(named.flatMap(({ spans }) => spans)), windowS };
}

/** Points no closer than the windows of what is asked for: of one service, or of all. */
function stepsOf(interval: Interval, points: number, windows: Windows, service: string): Steps {
  const known = service === "" ? windows.all : [windows.of(service)];
  return stepsFor(stepFor(interval, points, Math.min(...known)), known);
}

function spansBySeries({ series = [] }: SelectSeriesResponse, service: string, windows: Windows, steps: Steps): { name: string; spans: Span[] }[] {
  return series.map(({ labels, points = [] }) => {
    const name = labelOf(labels, "service_name") || service;
    return { name, spans: spansOf(points, windows.of(name), steps) };
  });
}

function selectSeries(query: Query, { fetchS }: Steps, groupBy: string[], signal: AbortSignal): Promise<SelectSeriesResponse> {
  // Buckets end on the grid of the steps, or every refresh would cut the windows differently.
  const grid = fetchS * 1e3;
  const start = Math.ceil(query.interval.fromMs / grid) * grid;
  const end = Math.max(start, Math.floor(query.interval.untilMs / grid) * grid);
  return call("SelectSeries", { profileTypeID: query.type, labelSelector: selectorOf(query.service, query.filter), start, end, step: fetchS, groupBy }, signal);
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
