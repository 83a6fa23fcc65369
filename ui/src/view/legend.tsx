// Where the time is really spent, by package or module; a click searches for it.

import type { Group } from "../paint/color";
import { formatShare } from "../profile/format";
import type { Coloring } from "../state/url";

interface Props {
  groups: Group[];
  coloring: Coloring;
  total: number;
  search: string;
  onSearch: (query: string) => void;
}

const MOST = 8;

export function Legend({ groups, coloring, total, search, onSearch }: Props) {
  const named = groups.filter((group) => group.name !== "" && group.self > 0).slice(0, MOST);
  if (coloring === "name" || named.length === 0) return null;
  return (
    <div class="legend" role="group" aria-label={`Self time by ${coloring}`}>
      {named.map(({ name, self, color }) => {
        const query = `${coloring === "module" && name !== "kernel" ? "module" : "package"}:${name}`;
        const on = search === query;
        return (
          <button key={name} type="button" class={on ? "chip on" : "chip"} aria-pressed={on} title={`Show the frames of ${name}`} onClick={() => onSearch(on ? "" : query)}>
            <span class="swatch" style={{ background: color }} />
            <span class="chip-name">{labelOf(name)}</span>
            <span class="dim">{formatShare(self, total)}</span>
          </button>
        );
      })}
    </div>
  );
}

// Of a long Go package the end tells more than the host that all of them begin with.
function labelOf(name: string): string {
  return name.length > 28 && name.includes("/") ? `…/${name.split("/").slice(-2).join("/")}` : name;
}
