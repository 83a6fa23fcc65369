// Which time is looked at: presets that end now, or any two moments.

import { useState } from "preact/hooks";
import { formatDate, formatLength, formatMoment } from "../profile/format";
import { isLive, PRESETS, presetOf, type Interval, type Range } from "../state/time";
import { CalendarIcon } from "./icons";
import { Menu } from "./menu";

interface Props {
  range: Range;
  interval: Interval;
  onRange: (range: Range) => void;
}

export function RangePicker({ range, interval, onRange }: Props) {
  const preset = presetOf(range);
  return (
    <div class="range" role="group" aria-label="Time range">
      <div class="segments">
        {PRESETS.map((one) => (
          <button key={one} type="button" class={one === preset ? "segment on" : "segment"} aria-pressed={one === preset} onClick={() => onRange({ from: `now-${one}`, until: "now" })}>
            {one}
          </button>
        ))}
      </div>
      <Menu label="Choose from and until" active={preset === null} button={<><CalendarIcon />{preset === null && <span class="range-text">{describe(range, interval)}</span>}</>}>
        {(close) => (
          <CustomRange
            interval={interval}
            onRange={(custom) => {
              onRange(custom);
              close();
            }}
          />
        )}
      </Menu>
    </div>
  );
}

function describe(range: Range, { fromMs, untilMs }: Interval): string {
  if (isLive(range)) return `last ${formatLength(untilMs - fromMs)}`;
  const now = Date.now();
  const sameDay = new Date(fromMs).toDateString() === new Date(untilMs).toDateString();
  const until = formatMoment(untilMs, sameDay ? untilMs : now);
  return `${formatMoment(fromMs, now)} – ${until}`;
}

function CustomRange({ interval, onRange }: { interval: Interval; onRange: (range: Range) => void }) {
  const [from, setFrom] = useState(() => toInput(interval.fromMs));
  const [until, setUntil] = useState(() => toInput(interval.untilMs));
  const [fromMs, untilMs] = [Date.parse(from), Date.parse(until)];
  const wrong = Number.isNaN(fromMs) || Number.isNaN(untilMs) ? "Fill in both moments." : untilMs <= fromMs ? "Until must be after from." : "";
  const submit = (event: Event) => {
    event.preventDefault();
    if (wrong === "") onRange({ from: String(fromMs), until: String(untilMs) });
  };
  return (
    <form class="custom-range" onSubmit={submit}>
      <label>
        From <input type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label>
        Until <input type="datetime-local" step="1" value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
      </label>
      <p class="form-error" role="alert">{wrong}</p>
      <button type="submit" class="button primary" disabled={wrong !== ""}>Apply</button>
    </form>
  );
}

// What datetime-local takes: local time without a zone.
function toInput(ms: number): string {
  const at = new Date(ms);
  return `${formatDate(at)}T${at.toTimeString().slice(0, 8)}`;
}
