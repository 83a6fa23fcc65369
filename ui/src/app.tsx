// The page: state from the URL, the requests that follow from it, and the parts that show their answers.

import { useCallback, useEffect, useMemo } from "preact/hooks";
import { flameGraph, profileTypes, services as loadServices, timeline as loadTimeline, type Query, type Service } from "./api/querier";
import { DEFAULT_WINDOW_S } from "./api/windows";
import { formatCores, formatValue, isCpu, scaleOf, unitOf } from "./profile/format";
import { isLive, resolve, wholeWindows, widen, type Range } from "./state/time";
import { useClock } from "./state/use_clock";
import { entryMemory, remember, usePageState } from "./state/use_page_state";
import { useQuery } from "./state/use_query";
import { useTheme } from "./state/theme";
import { CPU_TYPE } from "./state/url";
import { loadProfile, type Profile } from "./state/profile";
import { Header, titleOf } from "./view/header";
import { ProfileCard } from "./view/profile_card";
import { ServiceList } from "./view/services";
import { NoProfilesState } from "./view/states";
import { Timeline } from "./view/timeline";

/** How often an empty server is asked again. */
const EMPTY_RETRY_MS = 3000;

export function App() {
  const [state, change] = usePageState();
  const [theme, flipTheme] = useTheme();
  const [nowMs, reload] = useClock(state.refresh, isLive(state));
  // A range that is newly chosen ends now, and not when the page was last refreshed.
  const interval = useMemo(() => resolve(state, Date.now()), [state.from, state.until, nowMs]);
  const when = `${state.from} ${state.until}`;
  const query: Query = { type: state.type, service: state.service, filter: state.filter, interval };
  const about = JSON.stringify([state.type, state.service, state.filter, when]);

  const types = useQuery(`${when} ${nowMs}`, "", async (signal) => {
    const list = await profileTypes(interval, signal);
    return { list, ever: list.length > 0 || (await profileTypes({ fromMs: 1, untilMs: nowMs }, signal)).length > 0 };
  });
  const services = useQuery(JSON.stringify([state.filter, when, nowMs]), state.filter, (signal) => loadServices(interval, state.filter, signal));
  const line = useQuery(`${about} ${nowMs}`, about, (signal) => loadTimeline(query, signal));
  const profile = useQuery<Profile>(`${about} ${nowMs}`, about, (signal, show) => loadProfile(query, flameGraph(query, signal), signal, show));

  const type = types.data?.list.find((one) => one.ID === state.type) ?? typeOfId(state.type);
  useEffect(() => {
    // A server without CPU profiles shows what it has.
    const first = types.data?.list[0];
    if (first && state.type === CPU_TYPE && !types.data!.list.some((one) => one.ID === CPU_TYPE)) change({ type: first.ID }, "replace");
  }, [types.data]);
  const nothingYet = types.data?.ever === false && services.data?.list.length === 0 && state.filter === "";
  useEffect(() => {
    if (!nothingYet || !isLive(state)) return;
    const timer = setTimeout(reload, EMPTY_RETRY_MS);
    return () => clearTimeout(timer);
  }, [nothingYet, nowMs]);
  useEffect(() => {
    document.title = `${state.service || "All services"} · Pilotlight`;
  }, [state.service]);

  const setRange = useCallback((range: Range) => change({ ...range }), []);
  const select = useCallback((service: Service) => {
    const fitting = service.types.length === 0 || service.types.includes(state.type) ? state.type : service.types.includes(CPU_TYPE) ? CPU_TYPE : service.types[0]!;
    change({ service: service.name, type: fitting, zoom: "" });
  }, [state.type]);
  const windowS = line.data?.windowS ?? DEFAULT_WINDOW_S;
  const zoomIn = useCallback((fromMs: number, untilMs: number) => {
    const { zoomedFrom } = entryMemory();
    const whole = wholeWindows({ fromMs, untilMs }, windowS);
    change({ from: String(whole.fromMs), until: String(whole.untilMs) });
    remember({ zoomedFrom: { from: state.from, until: state.until, before: zoomedFrom } });
  }, [state.from, state.until, windowS]);
  const zoomOut = useCallback(() => {
    const { zoomedFrom } = entryMemory();
    if (zoomedFrom) {
      change({ from: zoomedFrom.from, until: zoomedFrom.until });
      return remember({ zoomedFrom: zoomedFrom.before });
    }
    const wider = widen(interval, Date.now());
    change({ from: String(wider.fromMs), until: String(wider.untilMs) });
  }, [interval]);

  const unit = unitOf(type.sampleUnit);
  const scale = scaleOf(type.sampleUnit);
  const format = (rate: number) => (isCpu(type) ? formatCores((rate * scale) / 1e9) : formatValue(rate * scale, unit));
  const title = `${isCpu(type) ? "CPU cores" : `${titleOf(type.ID)} per second`} · ${state.service || "all services"}`;
  return (
    <div class="page">
      <ServiceList services={services} selected={state.service} onSelect={select} />
      <main class="main">
        <Header state={state} types={types.data?.list ?? []} interval={interval} theme={theme} busy={profile.loading} onChange={change} onRange={setRange} onReload={reload} onTheme={flipTheme} />
        {nothingYet ? (
          <section class="card grow"><NoProfilesState waiting={isLive(state)} /></section>
        ) : (
          <>
            <Timeline title={title} data={line.data} interval={interval} theme={theme} format={format} onZoom={zoomIn} onZoomOut={zoomOut} />
            <ProfileCard state={state} query={query} type={type} profile={profile} seconds={isCpu(type) ? (line.data?.seconds ?? null) : null} theme={theme} onChange={change} onRetry={reload} />
          </>
        )}
      </main>
    </div>
  );
}

function typeOfId(ID: string) {
  const [name = "", sampleType = "", sampleUnit = "", periodType = "", periodUnit = ""] = ID.split(":");
  return { ID, name, sampleType, sampleUnit, periodType, periodUnit };
}
