// The table of functions: self and total, sortable, filtered by the search; only the rows in sight are in the page.

import { useMemo, useRef, useState } from "preact/hooks";
import { formatAmount, formatShare, type Measure } from "../profile/format";
import { functionRows, sortRows, type FunctionRow, type Sort, type SortKey } from "../profile/functions";
import type { TreeNode } from "../profile/tree";
import { useSize } from "../state/use_size";

interface Props {
  root: TreeNode;
  /** The tree has its files, lines and modules. */
  detailed: boolean;
  /** Beside the flame graph: function and shares only. */
  compact: boolean;
  measure: Measure;
  search: string;
  onSearch: (name: string) => void;
}

const ROW_HEIGHT = 30;
/** Columns beside the flame graph. */
const COMPACT = 3;
const COLUMNS: { key: SortKey; title: string; numeric: boolean }[] = [
  { key: "name", title: "Function", numeric: false },
  { key: "self", title: "Self", numeric: true },
  { key: "total", title: "Total", numeric: true },
  { key: "module", title: "Module", numeric: false },
];

export function FunctionTable({ root, detailed, compact, measure, search, onSearch }: Props) {
  const [sort, setSort] = useState<Sort>({ key: "self", descending: true });
  const [filter, setFilter] = useState("");
  const [scrollTop, setScrollTop] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const { height } = useSize(box);
  const all = useMemo(() => functionRows(root), [root, detailed]);
  const rows = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    return sortRows(wanted === "" ? all : all.filter((row) => `${row.name} ${row.module} ${row.source}`.toLowerCase().includes(wanted)), sort);
  }, [all, sort, filter]);
  const most = useMemo(() => ({ self: Math.max(...all.map((row) => row.self), 1), total: measure.total }), [all, measure]);
  const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - 8);
  const last = Math.min(rows.length, first + Math.ceil((height || 600) / ROW_HEIGHT) + 16);
  const columns = compact ? COLUMNS.slice(0, COMPACT) : COLUMNS;
  const sortBy = (key: SortKey, numeric: boolean) => setSort(sort.key === key ? { key, descending: !sort.descending } : { key, descending: numeric });
  return (
    <div class="table-pane">
      <div class="table-tools">
        <label>
          <span class="hidden">Filter functions</span>
          <input type="search" placeholder="Filter functions, modules, files" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <span class="dim">{rows.length === 1 ? "1 function" : `${rows.length.toLocaleString("en-US")} functions`}</span>
      </div>
      <div class="table-scroll" ref={box} onScroll={(event) => setScrollTop(event.currentTarget.scrollTop)}>
        <table class={compact ? "compact" : ""} aria-rowcount={rows.length + 1}>
          <thead>
            <tr>
              {columns.map(({ key, title, numeric }) => (
                <th key={key} scope="col" class={numeric ? "numeric" : key} aria-sort={sort.key === key ? (sort.descending ? "descending" : "ascending") : "none"}>
                  <button type="button" onClick={() => sortBy(key, numeric)}>
                    {title}
                    <span class="arrow" aria-hidden="true">{sort.key === key ? (sort.descending ? "↓" : "↑") : ""}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr class="spacer" aria-hidden="true"><td colSpan={columns.length} style={{ height: `${first * ROW_HEIGHT}px` }} /></tr>
            {rows.slice(first, last).map((row, i) => (
              <Row key={row.key} row={row} index={first + i + 2} compact={compact} measure={measure} most={most} marked={search !== "" && search === row.name} onSearch={onSearch} />
            ))}
            <tr class="spacer" aria-hidden="true"><td colSpan={columns.length} style={{ height: `${(rows.length - last) * ROW_HEIGHT}px` }} /></tr>
          </tbody>
        </table>
      </div>
    </div>
  );
}

interface RowProps {
  row: FunctionRow;
  index: number;
  compact: boolean;
  measure: Measure;
  /** The largest values, which fill a cell with their bars. */
  most: { self: number; total: number };
  marked: boolean;
  onSearch: (name: string) => void;
}

function Row({ row, index, compact, measure, most, marked, onSearch }: RowProps) {
  return (
    <tr class={marked ? "marked" : ""} data-function={row.name} aria-rowindex={index} onClick={() => onSearch(marked ? "" : row.name)}>
      <td class="name">
        <div>
          <button type="button" title={row.source === "" ? row.name : `${row.name}\n${row.source}`} aria-pressed={marked}>
            {row.name}
          </button>
          {row.source !== "" && !compact && <span class="source">{shortSource(row.source)}</span>}
        </div>
      </td>
      <Amount value={row.self} most={most.self} compact={compact} measure={measure} />
      <Amount value={row.total} most={most.total} compact={compact} measure={measure} />
      {!compact && <td class="module" title={row.module}>{row.module}</td>}
    </tr>
  );
}

function Amount({ value, most, compact, measure }: { value: number; most: number; compact: boolean; measure: Measure }) {
  if (value === 0) return <td class="numeric none">–</td>;
  return (
    <td class="numeric" title={compact ? formatAmount(value, measure) : undefined}>
      <span class="amount-bar" style={{ width: `${(100 * value) / most}%` }} />
      {!compact && <span class="amount">{formatAmount(value, measure)}</span>}
      <span class="share">{formatShare(value, measure.total)}</span>
    </td>
  );
}

function shortSource(source: string): string {
  return source.split("/").slice(-2).join("/");
}
