// Numbers as people read them: durations, bytes, counts, cores and shares.

import type { ProfileType } from "../api/wire";

export type Unit = "nanoseconds" | "bytes" | "count";

/** What the values of a profile are worth. */
export interface Measure {
  unit: Unit;
  /** Nanoseconds in one unit of the values, for times. */
  scale: number;
  total: number;
  /** For CPU time: the seconds that the profile covers, which make it cores. */
  seconds: number | null;
}

/** What the values of a profile type count. Times in other units than nanoseconds are scaled by `scaleOf`. */
export function unitOf(sampleUnit: string): Unit {
  if (/seconds$/.test(sampleUnit)) return "nanoseconds";
  return sampleUnit === "bytes" ? "bytes" : "count";
}

/** Nanoseconds in one of the type's units of time; 1 for all else. */
export function scaleOf(sampleUnit: string): number {
  return { microseconds: 1e3, milliseconds: 1e6, seconds: 1e9 }[sampleUnit] ?? 1;
}

/** CPU time per second is a number of cores. */
export function isCpu({ name, sampleType, sampleUnit }: ProfileType): boolean {
  return unitOf(sampleUnit) === "nanoseconds" && (sampleType === "cpu" || name === "process_cpu");
}

export function formatValue(value: number, unit: Unit): string {
  if (unit === "nanoseconds") return formatDuration(value);
  return unit === "bytes" ? formatBytes(value) : formatCount(value);
}

export function formatAmount(value: number, { unit, scale }: Measure): string {
  return formatValue(value * scale, unit);
}

export function formatDuration(ns: number): string {
  const s = ns / 1e9;
  if (s >= 2 * 86400) return `${digits(s / 86400)} d`;
  if (s >= 2 * 3600) return `${digits(s / 3600)} h`;
  if (s >= 120) return `${digits(s / 60)} min`;
  if (s >= 1) return `${digits(s)} s`;
  if (ns >= 1e6) return `${digits(ns / 1e6)} ms`;
  if (ns >= 1e3) return `${digits(ns / 1e3)} µs`;
  return `${digits(ns)} ns`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at++) bytes /= 1024;
  return `${digits(bytes)} ${units[at]}`;
}

export function formatCount(count: number): string {
  if (count >= 1e9) return `${digits(count / 1e9)} G`;
  if (count >= 1e6) return `${digits(count / 1e6)} M`;
  return count >= 1e4 ? `${digits(count / 1e3)} k` : digits(count);
}

/** 1.84, 0.05, <0.01: the cores that something kept busy. */
export function formatCores(cores: number): string {
  if (cores <= 0) return "0";
  if (cores < 0.01) return "<0.01";
  return cores < 10 ? cores.toFixed(2) : digits(cores);
}

export function formatShare(part: number, whole: number): string {
  if (!(whole > 0)) return "0 %";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.01) return "<0.01 %";
  return `${percent >= 99.95 ? percent.toFixed(0) : percent >= 10 ? percent.toFixed(1) : percent.toFixed(2)} %`;
}

// Three digits that mean something.
function digits(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(value >= 10 ? 1 : 2);
}

const two = (n: number) => String(n).padStart(2, "0");

/** 14:03:20, with the date where it is not today. */
export function formatMoment(ms: number, nowMs: number): string {
  const at = new Date(ms);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toDateString() === new Date(nowMs).toDateString() ? clock : `${formatDate(at)} ${clock}`;
}

export function formatDate(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** 5 min, 1 h 20 min: how long a range is. */
export function formatLength(ms: number): string {
  const s = Math.round(ms / 1e3);
  const parts: [number, string][] = [[Math.floor(s / 86400), "d"], [Math.floor((s % 86400) / 3600), "h"], [Math.floor((s % 3600) / 60), "min"], [s % 60, "s"]];
  return parts.filter(([n]) => n > 0).slice(0, 2).map(([n, unit]) => `${n} ${unit}`).join(" ") || "0 s";
}
