// What one frame is and costs: name, place in the source, module; value, shares of total and parent, self.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Palette } from "../paint/color";
import { modulesOf, sourceOf, type Detail } from "../profile/detail";
import { formatAmount, formatCores, formatShare, type Measure } from "../profile/format";
import { basename, kindOf, type Kind } from "../profile/origin";
import type { TreeNode } from "../profile/tree";

interface Props {
  node: TreeNode;
  x: number;
  y: number;
  measure: Measure;
  palette: Palette;
}

const KIND: Partial<Record<Kind, string>> = { kernel: "kernel", inlined: "inlined", other: "small frames taken together" };

export function Tooltip({ node, x, y, measure, palette }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState({ left: x + 14, top: y + 16 });
  useLayoutEffect(() => {
    const { offsetWidth: width, offsetHeight: height } = box.current!;
    const left = x + 14 + width > innerWidth - 8 ? x - width - 10 : x + 14;
    const top = y + 16 + height > innerHeight - 8 ? y - height - 10 : y + 16;
    setPlace({ left: Math.max(8, left), top: Math.max(8, top) });
  }, [node, x, y]);
  const kind = kindOf(node);
  const amount = (value: number) => formatAmount(value, measure);
  return (
    <div class="tooltip" ref={box} role="tooltip" style={{ left: `${place.left}px`, top: `${place.top}px` }}>
      <div class="tooltip-name">
        <span class="swatch" style={{ background: palette.fill(node, kind) }} />
        <b>{node.name}</b>
      </div>
      {node.detail && <Source detail={node.detail} />}
      {KIND[kind] && <span class={`badge ${kind}`}>{KIND[kind]}</span>}
      <dl>
        <dt>{kind === "root" ? "total" : "value"}</dt>
        <dd>
          <b>{amount(node.total)}</b>
          {measure.seconds !== null && measure.seconds > 0 && <> · {formatCores((node.total * measure.scale) / 1e9 / measure.seconds)} cores</>}
        </dd>
        <dt>of total</dt>
        <dd>
          <b>{formatShare(node.total, measure.total)}</b>
          <span class="meter"><span style={{ width: `${(100 * node.total) / measure.total}%` }} /></span>
        </dd>
        {node.parent && (
          <>
            <dt>of parent</dt>
            <dd>{formatShare(node.total, node.parent.total)}</dd>
          </>
        )}
        <dt>self</dt>
        <dd>
          {node.self === 0 ? "none" : `${amount(node.self)} · ${formatShare(node.self, measure.total)}`}
        </dd>
      </dl>
    </div>
  );
}

function Source({ detail }: { detail: Detail }) {
  const source = sourceOf(detail.main);
  const [module = "", ...others] = modulesOf(detail);
  const lines = linesOf(detail);
  return (
    <div class="tooltip-source">
      {source !== "" && <div data-source>{source}</div>}
      {lines.length > 1 && <div class="dim">lines {lines.map(([line, share]) => `${line} (${share} %)`).join(", ")}</div>}
      {module !== "" && <div class="dim">{basename(module)}{others.length > 0 && ` and ${others.length} more`}</div>}
      {source === "" && detail.main.address !== "" && <div class="dim">address {detail.main.address}</div>}
    </div>
  );
}

// The heaviest lines of the frame's main file, with their shares.
function linesOf(detail: Detail): [number, number][] {
  const sums = new Map<number, number>();
  let total = 0;
  for (const [frame, weight] of detail.weights) {
    if (frame.file !== detail.main.file || frame.line === 0) continue;
    sums.set(frame.line, (sums.get(frame.line) ?? 0) + weight);
    total += weight;
  }
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([line, weight]) => [line, Math.round((100 * weight) / total)]);
}
