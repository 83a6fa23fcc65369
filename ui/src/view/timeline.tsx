// The selected service's CPU (or other value) over time, or that of all services stacked: drag to zoom in, double-click to go back.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { TimelineData } from "../api/rates";
import { distinctColors } from "../paint/color";
import { formatMoment } from "../profile/format";
import type { Interval } from "../state/time";
import type { Theme } from "../state/theme";
import { useSize } from "../state/use_size";
import { ZoomOutIcon } from "./icons";
import { optionsOf } from "./timeline_options";

interface Props {
  title: string;
  data: TimelineData | null;
  interval: Interval;
  theme: Theme;
  format: (rate: number) => string;
  onZoom: (fromMs: number, untilMs: number) => void;
  onZoomOut: () => void;
}

const HEIGHT = 132;

export function Timeline({ title, data, interval, theme, format, onZoom, onZoomOut }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const size = useSize(box);
  const [at, setAt] = useState<number | null>(null);
  const names = (data?.layers ?? []).map((layer) => layer.name);
  const shape = JSON.stringify(names);
  const colors = useMemo(() => layerColors(names, theme), [shape, theme]);
  const stacked = useMemo(() => stack(data), [data]);
  const latest = useRef({ onZoom, onZoomOut, format, interval, top: 1 });
  latest.current = { onZoom, onZoomOut, format, interval, top: Math.max(...(stacked[0] ?? []), 0) };

  useLayoutEffect(() => {
    if (!box.current) return;
    const options = optionsOf({
      element: box.current,
      height: HEIGHT,
      colors: [...colors].reverse(),
      format: (rate) => latest.current.format(rate),
      interval: () => latest.current.interval,
      top: () => latest.current.top,
      onCursor: setAt,
      onSelect: (from, until) => latest.current.onZoom(from, until),
      onReset: () => latest.current.onZoomOut(),
    });
    const made = new uPlot(options, [[], ...colors.map(() => [])], box.current);
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [theme, shape]);
  useEffect(() => {
    if (size.width > 0) plot.current?.setSize({ width: size.width, height: HEIGHT });
  }, [size.width, theme, shape]);
  useEffect(() => plot.current?.setData([data?.times ?? [], ...stacked]), [stacked, theme, shape, interval.fromMs, interval.untilMs]);

  const moment = at === null ? undefined : data?.times[at];
  return (
    <section class="card timeline" aria-label="Timeline">
      <div class="card-head">
        <h2>{title}</h2>
        <p class="readout" data-readout>
          {data && moment !== undefined ? <Readout data={data} at={at!} colors={colors} format={format} moment={moment} /> : <span class="hint">drag to zoom in, double-click to go back</span>}
        </p>
        <button type="button" class="button small" onClick={onZoomOut}>
          <ZoomOutIcon /> Zoom out
        </button>
      </div>
      <div class="plot" ref={box} role="img" aria-label={spoken(title, stacked[0] ?? [], format)} />
    </section>
  );
}

interface ReadoutProps {
  data: TimelineData;
  at: number;
  colors: string[];
  format: (rate: number) => string;
  moment: number;
}

function Readout({ data, at, colors, format, moment }: ReadoutProps) {
  const sum = data.layers.reduce((total, { values }) => total + (values[at] ?? 0), 0);
  return (
    <>
      <b>{format(sum)}</b> at {formatMoment(moment * 1e3, Date.now())}
      {data.layers.length > 1 &&
        data.layers.map(({ name, values }, i) => (
          <span key={name} class="layer">
            <span class="swatch" style={{ background: colors[i] ?? "" }} /> {name || "others"} {format(values[at] ?? 0)}
          </span>
        ))}
    </>
  );
}

// One layer has the page's own color, several have one each; what is left together is gray.
function layerColors(names: readonly string[], theme: Theme): string[] {
  if (names.length <= 1) return [""];
  const colors = distinctColors(names.filter((name) => name !== ""), theme);
  return names.map((name) => (name === "" ? (theme === "dark" ? "#6b6f7a" : "#b9b2a6") : colors.get(name)!));
}

// Each layer on top of those before it; the highest first, so that the lower ones are painted over it.
function stack(data: TimelineData | null): number[][] {
  const sums: number[][] = [];
  for (const { values } of data?.layers ?? []) sums.push(values.map((value, i) => value + (sums[sums.length - 1]?.[i] ?? 0)));
  return sums.length === 0 ? [[]] : sums.reverse();
}

function spoken(title: string, values: number[], format: (rate: number) => string): string {
  if (values.length === 0) return `${title}: no data`;
  const sum = values.reduce((a, b) => a + b, 0);
  return `${title}: ${format(sum / values.length)} on average, ${format(Math.max(...values))} at most`;
}
