// Above the profile: search with its share, how to look at it, how it is colored, and what to take home.

import type { Matches } from "../profile/search";
import { formatShare } from "../profile/format";
import { COLORINGS, VIEWS, type PageState, type View } from "../state/url";
import { CloseIcon, DownloadIcon, SearchIcon } from "./icons";
import { Menu } from "./menu";

interface Props {
  state: PageState;
  matches: Matches | null;
  total: number;
  searchBox: { current: HTMLInputElement | null };
  downloads: { title: string; hint: string; save: () => void }[];
  onChange: (part: Partial<PageState>, how?: "push" | "replace") => void;
}

const TITLES: Record<View, string> = { flame: "Flame graph", table: "Table", both: "Both" };

export function Toolbar({ state, matches, total, searchBox, downloads, onChange }: Props) {
  return (
    <div class="toolbar">
      <div class="search">
        <SearchIcon />
        <input
          ref={searchBox}
          type="search"
          aria-label="Search frames"
          placeholder="Search frames"
          title="Text, /regular expression/, module:libc, file:main.rs"
          spellcheck={false}
          value={state.search}
          onInput={(event) => onChange({ search: event.currentTarget.value }, "replace")}
          onKeyDown={(event) => event.key === "Escape" && state.search === "" && event.currentTarget.blur()}
        />
        {state.search === "" ? <kbd>/</kbd> : <button type="button" class="clear" aria-label="Clear the search" onClick={() => onChange({ search: "" }, "replace")}><CloseIcon /></button>}
      </div>
      <output class="matched" aria-live="polite" data-matched-share>
        {matches && (matches.nodes.size === 0 ? "nothing matches" : `${formatShare(matches.total, total)} matched`)}
      </output>
      <span class="grow" />
      <label class="field">
        <span class="label">Color by</span>
        <select value={state.color} onChange={(event) => onChange({ color: event.currentTarget.value as PageState["color"] }, "replace")}>
          {COLORINGS.map((one) => <option key={one} value={one}>{one}</option>)}
        </select>
      </label>
      <div class="segments" role="group" aria-label="View">
        {VIEWS.map((view) => (
          <button key={view} type="button" class={view === state.view ? "segment on" : "segment"} aria-pressed={view === state.view} data-view={view} onClick={() => onChange({ view })}>
            {TITLES[view]}
          </button>
        ))}
      </div>
      <Menu label="Download" button={<DownloadIcon />}>
        {(close) =>
          downloads.map(({ title, hint, save }) => (
            <button key={title} type="button" class="menu-item" onClick={() => { save(); close(); }}>
              {title} <small>{hint}</small>
            </button>
          ))
        }
      </Menu>
    </div>
  );
}
