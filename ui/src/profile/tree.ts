// The tree behind the flame graph, decoded from the API's levels of [x delta, total, self, name index].

import type { Detail } from "./detail";

export interface TreeNode {
  name: string;
  total: number;
  self: number;
  depth: number;
  /** Where the frame begins, in the unit of `total`. */
  x: number;
  parent: TreeNode | null;
  children: TreeNode[];
  /** Hash of the names from the root: the same frame after a reload or a refresh. */
  path: string;
  /** What the pprof says of this frame, once it is there. */
  detail: Detail | null;
}

export interface FlameGraphMessage {
  names?: string[];
  levels?: { values?: (string | number)[] }[];
  total?: string | number;
  maxSelf?: string | number;
}

/** The tree of an answer; null where it holds no samples. Groups that lie outside of any parent are left out. */
export function decodeTree(message: FlameGraphMessage | undefined): TreeNode | null {
  const names = message?.names ?? [];
  const levels = message?.levels ?? [];
  let root: TreeNode | null = null;
  let parents: TreeNode[] = [];
  levels.forEach(({ values = [] }, depth) => {
    const row: TreeNode[] = [];
    let end = 0;
    let candidate = 0;
    for (let i = 0; i + 3 < values.length; i += 4) {
      const x = end + Number(values[i]);
      const total = Number(values[i + 1]);
      end = x + total;
      if (!(total > 0) || (depth === 0 && root)) continue;
      while (candidate < parents.length && parents[candidate]!.x + parents[candidate]!.total <= x) candidate++;
      const parent = parents[candidate];
      if (depth > 0 && (!parent || x < parent.x || end > parent.x + parent.total)) continue;
      const node = newNode(cleanName(names[Number(values[i + 3])]), parent ?? null, x, total, Number(values[i + 2]));
      if (parent) parent.children.push(node);
      else root = node;
      row.push(node);
    }
    parents = row;
  });
  return root;
}

/** A name fit to be shown: never empty, nothing invisible in it, nothing that turns the direction of writing. */
export function cleanName(name: string | undefined): string {
  if (!name) return "(no name)";
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
}

export function newNode(name: string, parent: TreeNode | null, x: number, total: number, self: number): TreeNode {
  const depth = parent ? parent.depth + 1 : 0;
  return { name, total, self, depth, x, parent, children: [], path: hash(parent?.path ?? "", name), detail: null };
}

/** Puts the largest children first and a parent's own time behind them: hot paths run down the left edge, crumbs gather on the right. */
export function arrange(root: TreeNode): TreeNode {
  walk(root, (node) => {
    node.children.sort((a, b) => b.total - a.total || (a.name < b.name ? -1 : 1));
    let x = node.x;
    for (const child of node.children) {
      child.x = x;
      x += child.total;
    }
  });
  return root;
}

/** Visits every node, parents before children. */
export function walk(root: TreeNode, visit: (node: TreeNode) => void): void {
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop()) {
    visit(node);
    for (let i = node.children.length - 1; i >= 0; i--) stack.push(node.children[i]!);
  }
}

export function findByPath(root: TreeNode, path: string): TreeNode | null {
  if (path === "") return null;
  let found: TreeNode | null = null;
  walk(root, (node) => {
    if (!found && node.path === path) found = node;
  });
  return found;
}

/** From the root down to the node, both included. */
export function ancestry(node: TreeNode): TreeNode[] {
  const chain: TreeNode[] = [];
  for (let at: TreeNode | null = node; at; at = at.parent) chain.push(at);
  return chain.reverse();
}

export function maxDepth(root: TreeNode): number {
  let depth = 0;
  walk(root, (node) => (depth = Math.max(depth, node.depth)));
  return depth;
}

// Two rounds of 32-bit FNV-1a with different bases: 53 bits are enough for the paths of one tree and stay short in a URL.
function hash(parentPath: string, name: string): string {
  const text = `${parentPath};${name}`;
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return ((a >>> 0) * 0x200000 + ((b >>> 0) & 0x1fffff)).toString(36);
}
