// The bar on top: label filter, profile type, time range, refresh and theme.

import type { ProfileType } from "../api/wire";
import type { Interval, Range } from "../state/time";
import { REFRESHES, type PageState, type Refresh } from "../state/url";
import type { Theme } from "../state/theme";
import { LabelFilter } from "./label_filter";
import { MoonIcon, RefreshIcon, SunIcon } from "./icons";
import { RangePicker } from "./range_picker";

interface Props {
  state: PageState;
  types: ProfileType[];
  interval: Interval;
  theme: Theme;
  busy: boolean;
  onChange: (part: Partial<PageState>) => void;
  onRange: (range: Range) => void;
  onReload: () => void;
  onTheme: () => void;
}

export function Header({ state, types, interval, theme, busy, onChange, onRange, onReload, onTheme }: Props) {
  return (
    <header class="topbar">
      <LabelFilter value={state.filter} service={state.service} interval={interval} onApply={(filter) => onChange({ filter })} />
      <label class="field">
        <span class="hidden">Profile type</span>
        <select value={state.type} onChange={(event) => onChange({ type: event.currentTarget.value, zoom: "" })}>
          {!types.some((type) => type.ID === state.type) && <option value={state.type}>{titleOf(state.type)}</option>}
          {types.map((type) => (
            <option key={type.ID} value={type.ID}>{titleOf(type.ID)}</option>
          ))}
        </select>
      </label>
      <RangePicker range={state} interval={interval} onRange={onRange} />
      <div class="refresh" role="group" aria-label="Refresh">
        <button type="button" class={busy ? "button spinning" : "button"} aria-label="Refresh now" title="Refresh now" onClick={onReload}>
          <RefreshIcon />
        </button>
        <label class="field">
          <span class="hidden">Refresh by itself</span>
          <select value={state.refresh} onChange={(event) => onChange({ refresh: event.currentTarget.value as Refresh })}>
            {REFRESHES.map((one) => (
              <option key={one} value={one}>{one === "off" ? "manual" : `every ${one}`}</option>
            ))}
          </select>
        </label>
      </div>
      <button type="button" class="button" aria-label={theme === "dark" ? "Switch to light" : "Switch to dark"} title={theme === "dark" ? "Switch to light" : "Switch to dark"} onClick={onTheme}>
        {theme === "dark" ? <SunIcon /> : <MoonIcon />}
      </button>
    </header>
  );
}

/** `cpu (process_cpu)` of `process_cpu:cpu:nanoseconds:cpu:nanoseconds`. */
export function titleOf(id: string): string {
  const [name = id, sample = ""] = id.split(":");
  if (name === "process_cpu" && sample === "cpu") return "CPU time";
  return sample === "" || sample === name ? name : `${sample} (${name})`;
}
