// The state of the page as the query string of its URL, so that reload, share and back work. What is at its default is left out.

export const CPU_TYPE = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

export type View = "flame" | "table" | "both";
export type Coloring = "package" | "module" | "name";
export type Refresh = "off" | "10s" | "30s" | "1m";

export interface PageState {
  /** The selected service; empty means the whole machine. */
  service: string;
  type: string;
  from: string;
  until: string;
  refresh: Refresh;
  /** The label filter as typed. */
  filter: string;
  view: View;
  search: string;
  /** Path hash of the frame that the flame graph is zoomed to. */
  zoom: string;
  color: Coloring;
}

export const VIEWS: readonly View[] = ["flame", "table", "both"];
export const COLORINGS: readonly Coloring[] = ["package", "module", "name"];
export const REFRESHES: readonly Refresh[] = ["off", "10s", "30s", "1m"];

export const DEFAULTS: PageState = {
  service: "",
  type: CPU_TYPE,
  from: "now-15m",
  until: "now",
  refresh: "30s",
  filter: "",
  view: "flame",
  search: "",
  zoom: "",
  color: "package",
};

const KEYS = Object.keys(DEFAULTS) as (keyof PageState)[];

export function parseUrl(query: string): PageState {
  const params = new URLSearchParams(query);
  const text = (key: keyof PageState) => params.get(key) ?? DEFAULTS[key];
  return {
    service: text("service"),
    type: text("type"),
    from: text("from"),
    until: text("until"),
    refresh: oneOf(REFRESHES, text("refresh"), DEFAULTS.refresh),
    filter: text("filter"),
    view: oneOf(VIEWS, text("view"), DEFAULTS.view),
    search: text("search"),
    zoom: text("zoom"),
    color: oneOf(COLORINGS, text("color"), DEFAULTS.color),
  };
}

export function formatUrl(state: PageState): string {
  const params = new URLSearchParams();
  for (const key of KEYS) if (state[key] !== DEFAULTS[key]) params.set(key, state[key]);
  const query = params.toString();
  return query === "" ? "" : `?${query}`;
}

function oneOf<T extends string>(known: readonly T[], text: string, otherwise: T): T {
  return known.includes(text as T) ? (text as T) : otherwise;
}
