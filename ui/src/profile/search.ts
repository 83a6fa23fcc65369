// Search in the tree: plain text, /regular expression/, `module:` and `file:`; and how much of the profile matches.

import { moduleOf, packageOf } from "./origin";
import type { TreeNode } from "./tree";

export type Predicate = (node: TreeNode) => boolean;

export interface Matches {
  nodes: Set<TreeNode>;
  /** Value under matching frames; a frame under another matching one is not counted twice. */
  total: number;
}

/** What a query looks for; null where there is nothing to look for. A broken regular expression is taken as plain text. */
export function predicateOf(query: string): Predicate | null {
  const text = query.trim();
  if (text === "") return null;
  const scoped = /^(module|file|package):(.*)$/s.exec(text);
  const test = textTest(scoped ? scoped[2]!.trim() : text);
  if (!scoped) return (node) => test(node.name);
  if (scoped[1] === "module") return (node) => test(moduleOf(node));
  if (scoped[1] === "package") return (node) => test(packageOf(node));
  return (node) => [...(node.detail?.weights.keys() ?? [])].some((frame) => test(frame.file));
}

function textTest(text: string): (candidate: string) => boolean {
  const regex = /^\/(.+)\/$/.exec(text);
  if (regex) {
    try {
      const compiled = new RegExp(regex[1]!, "i");
      return (candidate) => compiled.test(candidate);
    } catch {
      // An unfinished expression while someone types: look for it as it stands.
    }
  }
  const lower = text.toLowerCase();
  return (candidate) => candidate.toLowerCase().includes(lower);
}

export function search(root: TreeNode, query: string): Matches | null {
  const matches = predicateOf(query);
  if (!matches) return null;
  const nodes = new Set<TreeNode>();
  let total = 0;
  const stack: { node: TreeNode; covered: boolean }[] = [{ node: root, covered: false }];
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { node } = item;
    const hit = node.parent !== null && matches(node);
    if (hit) nodes.add(node);
    if (hit && !item.covered) total += node.total;
    for (const child of node.children) stack.push({ node: child, covered: item.covered || hit });
  }
  return { nodes, total };
}
