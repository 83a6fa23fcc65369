// Trees for the tests, from folded stacks, by way of the wire's own encoding.

import type { PprofMessage } from "../../src/profile/detail";
import { decodeTree, type FlameGraphMessage, type TreeNode } from "../../src/profile/tree";

interface Building {
  total: number;
  self: number;
  children: Map<string, Building>;
}

/** `a;b 3` a line, as levels of [x delta, total, self, name index]. */
export function message(folded: string): FlameGraphMessage {
  const root: Building = { total: 0, self: 0, children: new Map() };
  for (const line of folded.trim().split("\n")) {
    const [, stack = "", count = "0"] = /^(.*) (\d+)$/.exec(line.trim()) ?? [];
    let node = root;
    node.total += Number(count);
    for (const name of stack.split(";")) {
      if (!node.children.has(name)) node.children.set(name, { total: 0, self: 0, children: new Map() });
      node = node.children.get(name)!;
      node.total += Number(count);
    }
    node.self += Number(count);
  }
  const names: string[] = [];
  const levels: { end: number; values: string[] }[] = [];
  const visit = (name: string, node: Building, x: number, depth: number) => {
    if (!names.includes(name)) names.push(name);
    const level = (levels[depth] ??= { end: 0, values: [] });
    level.values.push(...[x - level.end, node.total, node.self, names.indexOf(name)].map(String));
    level.end = x + node.total;
    let at = x + node.self;
    for (const [child, below] of [...node.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      visit(child, below, at, depth + 1);
      at += below.total;
    }
  };
  visit("total", root, 0, 0);
  return { names, levels, total: String(root.total) };
}

export function tree(folded: string): TreeNode {
  return decodeTree(message(folded))!;
}

/** The tree as indented lines of `name total/self`. */
export function show(node: TreeNode, indent = ""): string {
  return [`${indent}${node.name} ${node.total}/${node.self}`, ...node.children.map((child) => show(child, `${indent}  `))].join("\n");
}

export function find(root: TreeNode, ...names: string[]): TreeNode {
  let node = root;
  for (const name of names) node = node.children.find((child) => child.name === name)!;
  return node;
}

/** Two modules with a function of one name, a line number each, and a frame inlined into another. */
export const PPROF: PprofMessage = {
  stringTable: ["", "main", "work", "tiny", "/src/main.c", "/src/work.c", "/usr/bin/app", "/usr/lib/liba.so", "[kernel.kallsyms]", "do_syscall_64"],
  mapping: [{ id: "1", filename: "6" }, { id: "2", filename: "7" }, { id: "3", filename: "8" }],
  function: [
    { id: "1", name: "1", filename: "4" },
    { id: "2", name: "2", filename: "5" },
    { id: "3", name: "3", filename: "5" },
    { id: "4", name: "2" },
    { id: "5", name: "9" },
  ],
  location: [
    { id: "1", mappingId: "1", address: "4198400", line: [{ functionId: "1", line: "12" }] },
    { id: "2", mappingId: "1", address: "4198500", line: [{ functionId: "3", line: "40" }, { functionId: "2", line: "33" }] },
    { id: "3", mappingId: "2", address: "8192", line: [{ functionId: "4" }] },
    { id: "4", mappingId: "3", line: [{ functionId: "5" }] },
    { id: "5", mappingId: "1", address: "4198600", line: [{ functionId: "1", line: "15" }] },
  ],
  sample: [
    { locationId: ["2", "1"], value: ["60"] },
    { locationId: ["3", "5"], value: ["30"] },
    { locationId: ["4", "5"], value: ["10"] },
  ],
};
export const PPROF_FOLDED = "main;work;tiny 60\nmain;work 30\nmain;do_syscall_64 10";
