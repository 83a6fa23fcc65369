// How uPlot draws the timeline: filled lines, quiet axes, a selection that reports instead of scaling.

import type uPlot from "uplot";
import { formatDate } from "../profile/format";
import type { Interval } from "../state/time";

interface Wiring {
  element: Element;
  height: number;
  /** Colors of the lines, the topmost first; an empty one is the page's own. */
  colors: string[];
  format: (rate: number) => string;
  interval: () => Interval;
  /** The largest value. */
  top: () => number;
  onCursor: (index: number | null) => void;
  onSelect: (fromMs: number, untilMs: number) => void;
  onReset: () => void;
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

export function optionsOf({ element, height, colors, format, interval, top, onCursor, onSelect, onReset }: Wiring): uPlot.Options {
  const style = getComputedStyle(element);
  const ink = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = { stroke: ink("--muted"), font: FONT, grid: { stroke: ink("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(element.clientWidth, 100),
    height,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    scales: {
      x: { time: true, range: () => [interval().fromMs / 1e3, interval().untilMs / 1e3] },
      y: { range: () => [0, top() > 0 ? top() * 1.1 : 1] },
    },
    axes: [
      { ...axis, size: 26, gap: 4, space: 90, values: (_, splits, __, ___, increment) => splits.map((s) => tick(s, increment)) },
      { ...axis, size: 58, gap: 6, space: 34, values: (_, splits) => splits.map((value) => (top() > 0 ? format(value) : "")) },
    ],
    series: [{}, ...colors.map((color) => line(color, ink("--accent-strong"), ink("--card")))],
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false, dist: 4 },
      points: { size: 7 },
      bind: {
        dblclick: () => () => {
          onReset();
          return null;
        },
      },
    },
    hooks: {
      setCursor: [(plot) => onCursor(plot.cursor.left !== undefined && plot.cursor.left >= 0 ? (plot.cursor.idx ?? null) : null)],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 5) return;
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          onSelect(Math.round(plot.posToVal(left, "x") * 1e3), Math.round(plot.posToVal(left + width, "x") * 1e3));
        },
      ],
    },
  };
}

// A line alone fades out below; those of a stack cover what is behind them.
function line(color: string, accent: string, card: string): uPlot.Series {
  const fill = color === "" ? (plot: uPlot) => gradient(plot, accent) : `color-mix(in srgb, ${color} 62%, ${card})`;
  return { stroke: color || accent, width: color === "" ? 1.5 : 1, fill, points: { show: false } };
}

function gradient(plot: uPlot, color: string): CanvasGradient | string {
  const { top, height } = plot.bbox;
  if (!(height > 0)) return "transparent";
  const fade = plot.ctx.createLinearGradient(0, top, 0, top + height);
  fade.addColorStop(0, `color-mix(in srgb, ${color} 42%, transparent)`);
  fade.addColorStop(1, `color-mix(in srgb, ${color} 4%, transparent)`);
  return fade;
}

function tick(seconds: number, increment: number): string {
  const at = new Date(seconds * 1e3);
  if (increment >= 86400) return formatDate(at);
  const clock = at.toTimeString();
  if (at.getHours() === 0 && at.getMinutes() === 0 && increment >= 3600) return formatDate(at).slice(5);
  return clock.slice(0, increment < 60 ? 8 : 5);
}
