// Places frames on a plane: which bars are seen through a window onto the tree's values, and where.

import type { TreeNode } from "./tree";

/** The part of the root's values that is spread over the whole width. */
export interface Window {
  start: number;
  end: number;
}

export interface Bar {
  node: TreeNode;
  x: number;
  width: number;
}

/** A run of neighbors that are too narrow to be drawn one by one. */
export interface Crumb {
  depth: number;
  x: number;
  width: number;
}

export interface Layout {
  /** Bars by depth, from left to right. */
  rows: Bar[][];
  crumbs: Crumb[];
}

export function windowOf(node: TreeNode): Window {
  return { start: node.x, end: node.x + node.total };
}

/** Bars of at least `minWidth` pixels; narrower ones are merged into crumbs and their children are not visited. */
export function layout(root: TreeNode, window: Window, width: number, minWidth = 1.5): Layout {
  const scale = width / Math.max(window.end - window.start, Number.MIN_VALUE);
  const rows: Bar[][] = [];
  const crumbs: Crumb[] = [];
  const stack: TreeNode[][] = [[root]];
  for (let siblings = stack.pop(); siblings; siblings = stack.pop()) {
    let crumb: Crumb | null = null;
    for (const node of siblings) {
      const left = Math.max(0, (node.x - window.start) * scale);
      const right = Math.min(width, (node.x + node.total - window.start) * scale);
      if (right <= 0 || left >= width) continue;
      if (right - left < minWidth) {
        if (crumb && left - (crumb.x + crumb.width) < 0.5) crumb.width = right - crumb.x;
        else crumbs.push((crumb = { depth: node.depth, x: left, width: right - left }));
        continue;
      }
      crumb = null;
      (rows[node.depth] ??= []).push({ node, x: left, width: right - left });
      if (node.children.length > 0) stack.push(node.children);
    }
  }
  for (const row of rows) row?.sort((a, b) => a.x - b.x);
  return { rows, crumbs };
}

/** The bar at a place, by binary search in its row. */
export function barAt(rows: readonly Bar[][], depth: number, x: number): Bar | null {
  const row = rows[depth];
  if (!row) return null;
  let low = 0;
  let high = row.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const bar = row[middle]!;
    if (x < bar.x) high = middle - 1;
    else if (x >= bar.x + bar.width) low = middle + 1;
    else return bar;
  }
  return null;
}

/** The frame that an arrow key goes to from `node`; the node itself where there is none. */
export function neighbor(node: TreeNode, direction: "up" | "down" | "left" | "right"): TreeNode {
  if (direction === "up") return node.parent ?? node;
  if (direction === "down") return node.children.reduce<TreeNode | null>((best, child) => (best && best.total >= child.total ? best : child), null) ?? node;
  const siblings = node.parent?.children ?? [node];
  return siblings[siblings.indexOf(node) + (direction === "left" ? -1 : 1)] ?? node;
}
