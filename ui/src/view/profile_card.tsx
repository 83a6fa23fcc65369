// The profile of what is selected: toolbar, legend, flame graph and table, and what stands there when there is none.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { pprofBytes, type Query } from "../api/querier";
import type { ProfileType } from "../api/wire";
import { paletteOf } from "../paint/color";
import { foldedText, svgText } from "../profile/export";
import { scaleOf, unitOf, type Measure } from "../profile/format";
import { search } from "../profile/search";
import { findByPath, type TreeNode } from "../profile/tree";
import type { Profile } from "../state/profile";
import type { SetState } from "../state/use_page_state";
import type { Loaded } from "../state/use_query";
import type { Theme } from "../state/theme";
import type { PageState } from "../state/url";
import { Breadcrumbs } from "./breadcrumbs";
import { fileName, gzip, save } from "./download";
import { FlameGraph } from "./flame_graph";
import { Legend } from "./legend";
import { ErrorState, LoadingState, NothingHereState } from "./states";
import { FunctionTable } from "./table";
import { Toolbar } from "./toolbar";
import { useShortcuts } from "./use_shortcuts";

interface Props {
  state: PageState;
  query: Query;
  type: ProfileType;
  profile: Loaded<Profile>;
  /** Seconds that CPU time is spread over. */
  seconds: number | null;
  theme: Theme;
  onChange: SetState;
  onRetry: () => void;
}

export function ProfileCard({ state, query, type, profile, seconds, theme, onChange, onRetry }: Props) {
  const searchBox = useRef<HTMLInputElement>(null);
  const root = profile.data?.root ?? null;
  const zoomed = useMemo(() => (root && findByPath(root, state.zoom)) ?? root, [root, state.zoom]);
  const onZoom = useCallback((node: TreeNode) => onChange({ zoom: node.parent ? node.path : "" }), []);
  useShortcuts({ searchBox, state, onChange });
  if (profile.error && !profile.data?.root) {
    return (
      <section class="card grow">
        <ErrorState error={profile.error} onRetry={onRetry}>{state.filter !== "" && <ClearFilter onChange={onChange} />}</ErrorState>
      </section>
    );
  }
  if (!root || !zoomed) {
    return (
      <section class="card grow" aria-busy={profile.loading}>
        {profile.loading ? <LoadingState /> : <Nothing state={state} onChange={onChange} />}
      </section>
    );
  }
  return <Shown {...{ state, query, type, profile, seconds, theme, onChange, root, zoomed, onZoom, searchBox }} />;
}

type ShownProps = Omit<Props, "onRetry"> & { root: TreeNode; zoomed: TreeNode; onZoom: (node: TreeNode) => void; searchBox: { current: HTMLInputElement | null } };

function Shown({ state, query, type, profile, seconds, theme, onChange, root, zoomed, onZoom, searchBox }: ShownProps) {
  const detailed = profile.data?.detailed ?? false;
  const [notice, setNotice] = useState("");
  const palette = useMemo(() => paletteOf(root, state.color, theme), [root, detailed, state.color, theme]);
  const matches = useMemo(() => search(root, state.search), [root, detailed, state.search]);
  const scale = scaleOf(type.sampleUnit);
  const measure = useMemo<Measure>(() => ({ unit: unitOf(type.sampleUnit), scale, total: root.total, seconds }), [type.ID, root, seconds]);
  const setSearch = useCallback((text: string) => onChange({ search: text }, "replace"), []);
  useEffect(() => {
    document.documentElement.dataset["profile"] = detailed ? "detailed" : "shown";
  }, [detailed, root]);

  const name = fileName(query.service, query.type, query.interval.untilMs);
  const downloads = [
    { title: "pprof", hint: ".pb.gz", save: () => void savePprof(query, name, setNotice) },
    { title: "Folded stacks", hint: ".folded", save: () => save(`${name}.folded`, "text/plain", foldedText(root)) },
    { title: "Flame graph", hint: ".svg", save: () => save(`${name}.svg`, "image/svg+xml", svgText(root, name, measure, paletteOf(root, state.color, "light"))) },
  ];
  return (
    <section class="card grow profile" aria-label="Profile" aria-busy={profile.loading}>
      {profile.error && <p class="stale" role="alert">This is not up to date: {profile.error.message}</p>}
      <Toolbar state={state} matches={matches} total={root.total} searchBox={searchBox} downloads={downloads} onChange={onChange} />
      <p class={notice === "" ? "hidden" : "notice"} role="status">{notice}</p>
      <Legend groups={palette.groups} coloring={state.color} total={root.total} search={state.search} onSearch={setSearch} />
      {state.view !== "table" && <Breadcrumbs zoomed={zoomed} onZoom={onZoom} />}
      <div class={`views view-${state.view}`}>
        {state.view !== "flame" && <FunctionTable root={root} detailed={detailed} compact={state.view === "both"} measure={measure} search={state.search} onSearch={setSearch} />}
        {state.view !== "table" && <FlameGraph root={root} zoomed={zoomed} palette={palette} matches={matches} measure={measure} onZoom={onZoom} />}
      </div>
    </section>
  );
}

async function savePprof(query: Query, name: string, setNotice: (notice: string) => void): Promise<void> {
  setNotice("Fetching the pprof …");
  try {
    save(`${name}.pb.gz`, "application/octet-stream", await gzip(await pprofBytes(query, AbortSignal.timeout(120_000))));
    setNotice("");
  } catch (error) {
    setNotice(`The pprof could not be saved: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function Nothing({ state, onChange }: { state: PageState; onChange: SetState }) {
  return (
    <NothingHereState>
      {state.filter !== "" && <ClearFilter onChange={onChange} />}
      {state.service !== "" && <button type="button" class="button" onClick={() => onChange({ service: "" })}>Show all services</button>}
      {state.from !== "now-24h" && <button type="button" class="button" onClick={() => onChange({ from: "now-24h", until: "now" })}>Show the last 24 hours</button>}
    </NothingHereState>
  );
}

function ClearFilter({ onChange }: { onChange: SetState }) {
  return <button type="button" class="button" onClick={() => onChange({ filter: "" })}>Clear the label filter</button>;
}
