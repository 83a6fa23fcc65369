// Time ranges as the URL holds them ("now-15m", a number of milliseconds) and as the API wants them (milliseconds).

export interface Range {
  from: string;
  until: string;
}

export interface Interval {
  fromMs: number;
  untilMs: number;
}

export const PRESETS = ["5m", "15m", "1h", "6h", "24h", "7d"] as const;

const UNIT_MS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3, w: 7 * 86400e3 };

/** Milliseconds of "90s", "15m", "6h", "7d"; null where the text is no duration. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,6})([smhdw])$/.exec(text.trim());
  if (!match) return null;
  return Number(match[1]) * (UNIT_MS[match[2]!] ?? 0);
}

/** Milliseconds since the epoch of "now", "now-1h" or a number; null where the text is no moment. */
export function parseMoment(text: string, nowMs: number): number | null {
  const trimmed = text.trim();
  if (trimmed === "now") return nowMs;
  if (trimmed.startsWith("now-")) {
    const back = parseDuration(trimmed.slice(4));
    return back === null ? null : nowMs - back;
  }
  if (!/^\d{1,15}$/.test(trimmed)) return null;
  return Number(trimmed);
}

/** The interval that a range means at `nowMs`; the default where it makes no sense. */
export function resolve(range: Range, nowMs: number): Interval {
  const fromMs = parseMoment(range.from, nowMs);
  const untilMs = parseMoment(range.until, nowMs);
  if (fromMs === null || untilMs === null || untilMs <= fromMs) return { fromMs: nowMs - 15 * 60e3, untilMs: nowMs };
  return { fromMs, untilMs };
}

/** A range that moves with the clock. */
export function isLive(range: Range): boolean {
  return range.until.trim() === "now";
}

/** The preset ("15m") that a range is, or null for any other range. */
export function presetOf(range: Range): string | null {
  if (!isLive(range) || !range.from.startsWith("now-")) return null;
  const back = range.from.slice(4);
  return (PRESETS as readonly string[]).includes(back) ? back : null;
}

/** Twice as long around the same middle, and never beyond now. */
export function widen({ fromMs, untilMs }: Interval, nowMs: number): Interval {
  const length = untilMs - fromMs;
  const until = Math.min(nowMs, untilMs + length / 2);
  return { fromMs: Math.round(until - 2 * length), untilMs: Math.round(until) };
}

/** The interval widened to whole windows, which are counted from the epoch: a part of a window may hold no profile. Both ends belong to it. */
export function wholeWindows({ fromMs, untilMs }: Interval, windowS: number): Interval {
  const window = windowS * 1e3;
  const from = Math.floor(fromMs / window) * window;
  return { fromMs: from, untilMs: Math.max(Math.ceil(untilMs / window) * window, from + window) - 1 };
}

const STEPS_S = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** The step in seconds that gives at most `points` points: a round one, and no finer than the windows are. */
export function stepFor({ fromMs, untilMs }: Interval, points: number, windowS: number): number {
  const wanted = Math.max((untilMs - fromMs) / 1e3 / points, windowS);
  return STEPS_S.find((step) => step >= wanted) ?? STEPS_S[STEPS_S.length - 1]!;
}
