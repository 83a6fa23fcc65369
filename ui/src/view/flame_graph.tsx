// The flame graph: a canvas as large as what is seen, with hover, click to zoom, keys, and a tree for screen readers.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { inksOf, paint, ROW, type Inks } from "../paint/painter";
import type { Palette } from "../paint/color";
import type { Measure } from "../profile/format";
import { barAt, layout, neighbor, windowOf } from "../profile/layout";
import type { Matches } from "../profile/search";
import { findByPath, maxDepth, type TreeNode } from "../profile/tree";
import { useSize } from "../state/use_size";
import { FrameTree } from "./frame_tree";
import { Tooltip } from "./tooltip";
import { useAnimatedWindow } from "./use_animated_window";

interface Props {
  root: TreeNode;
  zoomed: TreeNode;
  palette: Palette;
  matches: Matches | null;
  measure: Measure;
  onZoom: (node: TreeNode) => void;
}

interface Pointer {
  node: TreeNode;
  x: number;
  y: number;
}

export function FlameGraph({ root, zoomed, palette, matches, measure, onZoom }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(scroller);
  const [pointer, setPointer] = useState<Pointer | null>(null);
  const [selected, setSelected] = useState<TreeNode | null>(null);
  const [scrollTop, setScrollTop] = useState(0);
  const [window, moving] = useAnimatedWindow(windowOf(zoomed), root);
  const rows = useMemo(() => maxDepth(root) + 1, [root]);
  const placed = useMemo(() => layout(root, window, size.width), [root, window, size.width]);
  const height = Math.min(size.height, Math.max(rows * ROW, ROW));

  useEffect(() => {
    // After a refresh the same frames are other nodes.
    setPointer((old) => again(root, old?.node, (node) => ({ ...old!, node })));
    setSelected((old) => again(root, old, (node) => node));
  }, [root]);
  const inks = useRef<{ of: Palette; inks: Inks } | null>(null);
  useLayoutEffect(() => {
    if (!canvas.current || size.width === 0) return;
    if (inks.current?.of !== palette) inks.current = { of: palette, inks: inksOf(canvas.current) };
    const scene = { layout: placed, palette, matches: matches?.nodes ?? null, zoomDepth: zoomed.depth, hovered: pointer?.node ?? null, selected, scrollTop, width: size.width, height };
    paint(canvas.current, scene, inks.current.inks);
  }, [placed, palette, matches, zoomed, pointer?.node, selected, scrollTop, size.width, height]);

  const nodeAt = (event: MouseEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    const depth = Math.floor((event.clientY - box.top + scrollTop) / ROW);
    return barAt(placed.rows, depth, event.clientX - box.left)?.node ?? null;
  };
  const onMove = (event: MouseEvent) => {
    const node = nodeAt(event);
    setPointer(node && { node, x: event.clientX, y: event.clientY });
  };
  const zoom = (node: TreeNode) => {
    setPointer(null);
    onZoom(node);
  };
  const select = (node: TreeNode) => {
    setSelected(node);
    setPointer(null);
    const top = node.depth * ROW;
    const box = scroller.current!;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + 2 * ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + 2 * ROW - box.clientHeight;
  };
  const onKey = (event: KeyboardEvent) => {
    const direction = ({ ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" } as const)[event.key as "ArrowUp"];
    if (direction) select(selected ? neighbor(selected, direction) : zoomed);
    else if ((event.key === "Enter" || event.key === " ") && selected) zoom(selected);
    else return;
    event.preventDefault();
  };

  const selectedBar = selected && placed.rows[selected.depth]?.find((bar) => bar.node === selected);
  const tip: Pointer | null = pointer ?? (selected && selectedBar && canvas.current ? below(canvas.current, selected, selectedBar.x, scrollTop) : null);
  return (
    <div
      class="flame"
      ref={scroller}
      tabIndex={0}
      role="group"
      aria-roledescription="flame graph"
      aria-label="Flame graph. Arrow keys move between frames, Enter zooms, Escape zooms out."
      aria-activedescendant={selected ? `frame-${selected.path}` : undefined}
      onScroll={(event) => setScrollTop(event.currentTarget.scrollTop)}
      onKeyDown={onKey}
      onBlur={() => setSelected(null)}
    >
      <div class="flame-plane" style={{ height: `${rows * ROW}px` }}>
        <canvas
          ref={canvas}
          class={pointer ? "flame-canvas pointing" : "flame-canvas"}
          style={{ width: `${size.width}px`, height: `${height}px` }}
          aria-hidden="true"
          onMouseMove={onMove}
          onMouseLeave={() => setPointer(null)}
          onClick={(event) => {
            const node = nodeAt(event);
            if (node) zoom(node);
          }}
        />
      </div>
      <FrameTree layout={placed} measure={measure} matches={matches} selected={selected} settled={!moving} onZoom={zoom} />
      {tip && <Tooltip node={tip.node} x={tip.x} y={tip.y} measure={measure} palette={palette} />}
    </div>
  );
}

function again<T>(root: TreeNode, old: TreeNode | null | undefined, make: (node: TreeNode) => T): T | null {
  const node = old ? findByPath(root, old.path) : null;
  return node && make(node);
}

function below(canvas: HTMLCanvasElement, node: TreeNode, x: number, scrollTop: number): Pointer {
  const box = canvas.getBoundingClientRect();
  return { node, x: box.left + x + 12, y: box.top + (node.depth + 1) * ROW - scrollTop - 8 };
}
