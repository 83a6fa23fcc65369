// The list of services: name, a small line of its CPU and its cores; a filter box above.

import { useState } from "preact/hooks";
import type { Service, Services } from "../api/querier";
import type { Loaded } from "../state/use_query";
import { formatCores } from "../profile/format";
import { Sparkline } from "./sparkline";
import { Flame } from "./icons";

interface Props {
  services: Loaded<Services>;
  selected: string;
  onSelect: (service: Service) => void;
}

export function ServiceList({ services, selected, onSelect }: Props) {
  const [filter, setFilter] = useState("");
  const all = services.data?.list ?? [];
  const shown = all.filter((service) => service.name.toLowerCase().includes(filter.trim().toLowerCase()));
  const most = Math.max(...all.map((service) => service.rate ?? 0), 0);
  return (
    <nav class="sidebar" aria-label="Services">
      <h1 class="brand">
        <Flame /> Pilotlight
      </h1>
      <label class="service-filter">
        <span class="hidden">Filter services</span>
        <input type="search" placeholder="Filter services" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
      </label>
      <div class="service-head" aria-hidden="true">
        <span>{all.length === 1 ? "1 service" : `${all.length} services`}</span>
        <span>cores</span>
      </div>
      <ul class="services" aria-busy={services.loading}>
        {services.data && filter === "" && all.length > 0 && (
          <Row service={services.data.total} title="All services" most={0} selected={selected === ""} onSelect={onSelect} />
        )}
        {shown.map((service) => (
          <Row key={service.name} service={service} title={service.name} most={most} selected={selected === service.name} onSelect={onSelect} />
        ))}
        {!services.data && services.loading && [0, 1, 2, 3, 4, 5].map((n) => <li key={n} class="service-skeleton" />)}
        {services.error && !services.data && <li class="service-none">The list could not be loaded</li>}
        {services.data && shown.length === 0 && <li class="service-none">{filter === "" ? "No services yet" : "No service of that name"}</li>}
      </ul>
      <footer class="sidebar-foot">
        <a href="licenses.txt">Licenses</a>
      </footer>
    </nav>
  );
}

interface RowProps {
  service: Service;
  title: string;
  most: number;
  selected: boolean;
  onSelect: (service: Service) => void;
}

function Row({ service, title, most, selected, onSelect }: RowProps) {
  const cores = service.rate === null ? null : service.rate / 1e9;
  const share = most > 0 && service.rate ? (100 * service.rate) / most : 0;
  const spoken = cores === null ? `${title}, no CPU profiles` : `${title}, ${formatCores(cores)} cores`;
  return (
    <li>
      <button type="button" class={selected ? "service selected" : "service"} data-service={service.name} aria-current={selected ? "true" : undefined} aria-label={spoken} title={title} onClick={() => onSelect(service)}>
        <span class="service-name">{title}</span>
        <Sparkline line={service.line} />
        <span class="service-cores">{cores === null ? "–" : formatCores(cores)}</span>
        <span class="service-bar" style={{ width: `${share}%` }} />
      </button>
    </li>
  );
}
