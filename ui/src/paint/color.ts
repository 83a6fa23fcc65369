// Colors of frames: a hue for each package, module or name, kept apart as far as there are hues; the kernel has its own.

import { kindOf, moduleOf, packageOf, type Kind } from "../profile/origin";
import { walk, type TreeNode } from "../profile/tree";
import type { Theme } from "../state/theme";
import type { Coloring } from "../state/url";

interface Hue {
  h: number;
  s: number;
}

const HUES: readonly Hue[] = [
  { h: 30, s: 92 },
  { h: 172, s: 52 },
  { h: 338, s: 74 },
  { h: 88, s: 50 },
  { h: 278, s: 58 },
  { h: 200, s: 78 },
  { h: 50, s: 88 },
  { h: 8, s: 82 },
  { h: 145, s: 46 },
  { h: 310, s: 48 },
];
const KERNEL: Hue = { h: 228, s: 62 };
const PLAIN: Hue = { h: 28, s: 24 };
const ROOT: Hue = { h: 30, s: 10 };

export interface Group {
  name: string;
  /** Self value of the group's frames: where the time is really spent. */
  self: number;
  color: string;
}

export interface Palette {
  fill(node: TreeNode, kind: Kind): string;
  /** Groups by self value, the largest first. */
  groups: Group[];
}

export function paletteOf(root: TreeNode, coloring: Coloring, theme: Theme): Palette {
  const groupOf = coloring === "module" ? moduleGroup : packageOf;
  const selves = new Map<string, number>();
  const weights = new Map<string, number>();
  walk(root, (node) => {
    if (!node.parent || kindOf(node) === "other") return;
    const group = groupOf(node);
    selves.set(group, (selves.get(group) ?? 0) + node.self);
    weights.set(group, (weights.get(group) ?? 0) + node.total);
  });
  const hues = assignHues([...weights].sort((a, b) => b[1] - a[1]).map(([name]) => name));
  const hueOf = (node: TreeNode) => {
    if (coloring === "name") return kindOf(node) === "kernel" ? KERNEL : HUES[hash(node.name) % HUES.length]!;
    return hues.get(groupOf(node)) ?? PLAIN;
  };
  return {
    fill(node, kind) {
      if (kind === "root") return tone(ROOT, theme, 0, 0);
      if (kind === "other") return tone(ROOT, theme, -4, 0);
      const shade = (hash(node.name) % 9) - 4;
      return tone(hueOf(node), theme, shade + (kind === "inlined" ? 5 : 0), shade);
    },
    groups: [...selves].sort((a, b) => b[1] - a[1]).map(([name, self]) => ({ name, self, color: tone(hues.get(name) ?? PLAIN, theme, 0, 0) })),
  };
}

/** A color for each name, as far apart as there are hues, and the same whatever the order. */
export function distinctColors(names: readonly string[], theme: Theme): Map<string, string> {
  return new Map([...assignHues([...names].sort())].map(([name, hue]) => [name, tone(hue, theme, theme === "dark" ? 0 : -12, 0)]));
}

function moduleGroup(node: TreeNode): string {
  return kindOf(node) === "kernel" ? "kernel" : moduleOf(node);
}

// Each group takes the hue of its name's hash, or the next that is free: the same colors from one refresh to the next.
function assignHues(names: readonly string[]): Map<string, Hue> {
  const hues = new Map<string, Hue>([["kernel", KERNEL], ["", PLAIN]]);
  const taken = new Set<number>();
  for (const name of names) {
    if (hues.has(name)) continue;
    let slot = hash(name) % HUES.length;
    for (let tries = 0; taken.has(slot) && taken.size < HUES.length && tries < HUES.length; tries++) slot = (slot + 1) % HUES.length;
    taken.add(slot);
    hues.set(name, HUES[slot]!);
  }
  return hues;
}

function tone({ h, s }: Hue, theme: Theme, lighter: number, turn: number): string {
  const lightness = (theme === "dark" ? 64 : 72) + lighter * 0.8;
  return `hsl(${h + turn} ${theme === "dark" ? s * 0.82 : s}% ${lightness}%)`;
}

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h ^ (h >>> 15)) >>> 0;
}
