// The table's rows: one per function and module, with self and total; recursion is counted once.

import { moduleOf } from "./origin";
import { sourceOf } from "./detail";
import type { TreeNode } from "./tree";

export interface FunctionRow {
  key: string;
  name: string;
  module: string;
  source: string;
  self: number;
  total: number;
}

export type SortKey = "name" | "self" | "total" | "module";
export interface Sort {
  key: SortKey;
  descending: boolean;
}

export function functionRows(root: TreeNode): FunctionRow[] {
  const rows = new Map<string, FunctionRow>();
  const open = new Map<string, number>();
  const visit = (node: TreeNode) => {
    const module = moduleOf(node);
    const key = `${module}\n${node.name}`;
    let row = rows.get(key);
    if (!row) rows.set(key, (row = { key, name: node.name, module, source: "", self: 0, total: 0 }));
    if (row.source === "" && node.detail) row.source = sourceOf(node.detail.main);
    row.self += node.self;
    const depth = open.get(key) ?? 0;
    if (depth === 0) row.total += node.total;
    open.set(key, depth + 1);
    return () => open.set(key, depth);
  };
  // An explicit stack: generated code recurses deeper than the engine's own stack would.
  const stack: (TreeNode | (() => void))[] = [...root.children];
  for (let item = stack.pop(); item; item = stack.pop()) {
    if (typeof item === "function") item();
    else stack.push(visit(item), ...item.children);
  }
  return [...rows.values()];
}

export function sortRows(rows: readonly FunctionRow[], { key, descending }: Sort): FunctionRow[] {
  const order = (a: FunctionRow, b: FunctionRow) => {
    const x = a[key];
    const y = b[key];
    const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return (descending ? -sign : sign) || b.total - a.total || (a.key < b.key ? -1 : 1);
  };
  return [...rows].sort(order);
}
