// The selected service's CPU (or other value) over time: drag to zoom in, double-click to go back.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Rates } from "../api/rates";
import { formatMoment } from "../profile/format";
import type { Interval } from "../state/time";
import type { Theme } from "../state/theme";
import { useSize } from "../state/use_size";
import { ZoomOutIcon } from "./icons";
import { optionsOf } from "./timeline_options";

interface Props {
  title: string;
  rates: Rates | null;
  interval: Interval;
  theme: Theme;
  format: (rate: number) => string;
  onZoom: (fromMs: number, untilMs: number) => void;
  onZoomOut: () => void;
}

const HEIGHT = 132;

export function Timeline({ title, rates, interval, theme, format, onZoom, onZoomOut }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const size = useSize(box);
  const [at, setAt] = useState<number | null>(null);
  const actions = useRef({ onZoom, onZoomOut, format, interval });
  actions.current = { onZoom, onZoomOut, format, interval };

  useLayoutEffect(() => {
    if (!box.current) return;
    const options = optionsOf({
      element: box.current,
      height: HEIGHT,
      format: (rate) => actions.current.format(rate),
      interval: () => actions.current.interval,
      onCursor: setAt,
      onSelect: (from, until) => actions.current.onZoom(from, until),
      onReset: () => actions.current.onZoomOut(),
    });
    const made = new uPlot(options, [[], []], box.current);
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [theme]);
  useEffect(() => {
    if (size.width > 0) plot.current?.setSize({ width: size.width, height: HEIGHT });
  }, [size.width, theme]);
  useEffect(() => plot.current?.setData([rates?.times ?? [], rates?.values ?? []]), [rates, theme, interval.fromMs, interval.untilMs]);

  const moment = at === null ? undefined : rates?.times[at];
  return (
    <section class="card timeline" aria-label="Timeline">
      <div class="card-head">
        <h2>{title}</h2>
        <p class="readout" data-readout>
          {moment === undefined ? <span class="hint">drag to zoom in, double-click to go back</span> : <><b>{format(rates?.values[at!] ?? 0)}</b> at {formatMoment(moment * 1e3, Date.now())}</>}
        </p>
        <button type="button" class="button small" onClick={onZoomOut}>
          <ZoomOutIcon /> Zoom out
        </button>
      </div>
      <div class="plot" ref={box} role="img" aria-label={spoken(title, rates, format)} />
    </section>
  );
}

function spoken(title: string, rates: Rates | null, format: (rate: number) => string): string {
  if (!rates || rates.values.length === 0) return `${title}: no data`;
  const sum = rates.values.reduce((a, b) => a + b, 0);
  return `${title}: ${format(sum / rates.values.length)} on average, ${format(Math.max(...rates.values))} at most`;
}
