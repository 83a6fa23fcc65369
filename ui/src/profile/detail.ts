// File, line, module and kind of frame for the nodes of a tree, read from the pprof of the same selection.

import { cleanName, type TreeNode } from "./tree";

/** google.v1.Profile in JSON: 64-bit numbers are strings, zeros are left out. */
export interface PprofMessage {
  sample?: { locationId?: Id[]; value?: Id[] }[];
  mapping?: { id?: Id; filename?: Id; buildId?: Id }[];
  location?: { id?: Id; mappingId?: Id; address?: Id; line?: { functionId?: Id; line?: Id }[] }[];
  function?: { id?: Id; name?: Id; filename?: Id; startLine?: Id }[];
  stringTable?: string[];
}
type Id = string | number;

/** One frame as it stands in the pprof. */
export interface SourceFrame {
  name: string;
  file: string;
  line: number;
  module: string;
  buildId: string;
  address: string;
  inlined: boolean;
}

/** How much of a node's value each source frame has: one function may be called on several lines, or exist in several modules. */
export interface Detail {
  weights: Map<SourceFrame, number>;
  /** The heaviest of them. */
  main: SourceFrame;
}

/** Hangs the pprof's frames on the nodes. Stacks that the tree cut off are followed as far as it goes. */
export function annotate(root: TreeNode, pprof: PprofMessage): void {
  const locations = readLocations(pprof);
  const children = new Map<TreeNode, Map<string, TreeNode>>();
  const childOf = (node: TreeNode, name: string) => {
    let byName = children.get(node);
    if (!byName) children.set(node, (byName = new Map(node.children.map((child) => [child.name, child]))));
    return byName.get(name);
  };
  for (const sample of pprof.sample ?? []) {
    const value = Number(sample.value?.[0] ?? 0);
    if (!(value > 0)) continue;
    let node: TreeNode | undefined = root;
    const ids = sample.locationId ?? [];
    for (let i = ids.length - 1; i >= 0 && node; i--) {
      const frames: SourceFrame[] = locations.get(String(ids[i])) ?? [];
      for (let j = frames.length - 1; j >= 0 && node; j--) {
        const frame: SourceFrame = frames[j]!;
        node = childOf(node, frame.name);
        if (node) add(node, frame, value);
      }
    }
  }
}

function add(node: TreeNode, frame: SourceFrame, value: number): void {
  const detail = (node.detail ??= { weights: new Map(), main: frame });
  const weight = (detail.weights.get(frame) ?? 0) + value;
  detail.weights.set(frame, weight);
  if (weight > (detail.weights.get(detail.main) ?? 0)) detail.main = frame;
}

// Frames of each location, innermost first, as pprof has them: all but the last are inlined into the one after.
function readLocations(pprof: PprofMessage): Map<string, SourceFrame[]> {
  const text = (index: Id | undefined) => pprof.stringTable?.[Number(index ?? 0)] ?? "";
  const functions = new Map((pprof.function ?? []).map((f) => [String(f.id ?? 0), f]));
  const mappings = new Map((pprof.mapping ?? []).map((m) => [String(m.id ?? 0), m]));
  const locations = new Map<string, SourceFrame[]>();
  for (const location of pprof.location ?? []) {
    const mapping = mappings.get(String(location.mappingId ?? 0));
    const lines = location.line ?? [];
    const frames = lines.map((line, i): SourceFrame => {
      const fn = functions.get(String(line.functionId ?? 0));
      return {
        name: cleanName(text(fn?.name)),
        file: text(fn?.filename),
        line: Number(line.line ?? 0),
        module: text(mapping?.filename),
        buildId: text(mapping?.buildId),
        address: location.address ? `0x${BigInt(location.address).toString(16)}` : "",
        inlined: i < lines.length - 1,
      };
    });
    locations.set(String(location.id ?? 0), frames);
  }
  return locations;
}

/** `file:line` of a frame, as much of it as is known. */
export function sourceOf({ file, line }: SourceFrame): string {
  return file === "" ? "" : line > 0 ? `${file}:${line}` : file;
}

/** The distinct modules of a node, heaviest first. */
export function modulesOf(detail: Detail): string[] {
  const sums = new Map<string, number>();
  for (const [frame, weight] of detail.weights) sums.set(frame.module, (sums.get(frame.module) ?? 0) + weight);
  return [...sums].sort((a, b) => b[1] - a[1]).map(([module]) => module);
}
