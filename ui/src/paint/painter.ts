// Draws a layout of frames on a canvas: bars, their names, what is searched, selected or too narrow to be told apart.

import type { Bar, Layout } from "../profile/layout";
import { kindOf, shortName } from "../profile/origin";
import type { TreeNode } from "../profile/tree";
import type { Palette } from "./color";

export const ROW = 21;
const GAP = 1;
const PAD = 5;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, Ubuntu, Cantarell, sans-serif';

export interface Scene {
  layout: Layout;
  palette: Palette;
  /** Frames that the search found; null where nothing is searched. */
  matches: Set<TreeNode> | null;
  /** Ancestors of the frame that is zoomed to are drawn pale. */
  zoomDepth: number;
  hovered: TreeNode | null;
  selected: TreeNode | null;
  scrollTop: number;
  width: number;
  height: number;
}

export interface Inks {
  text: string;
  dimmed: string;
  dimmedText: string;
  ring: string;
  crumb: string;
}

export function inksOf(element: Element): Inks {
  const style = getComputedStyle(element);
  const ink = (name: string) => style.getPropertyValue(`--flame-${name}`).trim();
  return { text: ink("text"), dimmed: ink("dimmed"), dimmedText: ink("dimmed-text"), ring: ink("ring"), crumb: ink("crumb") };
}

export function paint(canvas: HTMLCanvasElement, scene: Scene, inks: Inks): void {
  const context = prepare(canvas, scene);
  if (!context) return;
  const first = Math.max(0, Math.floor(scene.scrollTop / ROW));
  const last = Math.ceil((scene.scrollTop + scene.height) / ROW);
  context.fillStyle = inks.crumb;
  for (const { depth, x, width } of scene.layout.crumbs) {
    if (depth < first || depth > last || width < 0.4) continue;
    context.fillRect(x, depth * ROW - scene.scrollTop, Math.max(width - 0.3, 0.6), ROW - GAP);
  }
  for (let depth = first; depth <= last; depth++) for (const bar of scene.layout.rows[depth] ?? []) paintBar(context, bar, scene, inks);
  for (const node of [scene.selected, scene.hovered]) ring(context, node, scene, inks);
}

function prepare(canvas: HTMLCanvasElement, { width, height }: Scene): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = "middle";
  return context;
}

function paintBar(context: CanvasRenderingContext2D, bar: Bar, scene: Scene, inks: Inks): void {
  const { node, x } = bar;
  const kind = kindOf(node);
  const y = node.depth * ROW - scene.scrollTop;
  const width = Math.max(bar.width - GAP, 0.8);
  const miss = scene.matches !== null && !scene.matches.has(node);
  context.globalAlpha = node.depth < scene.zoomDepth ? 0.5 : 1;
  context.fillStyle = miss ? inks.dimmed : scene.palette.fill(node, kind);
  shape(context, x, y, width, ROW - GAP);
  context.fill();
  if (kind === "inlined" && width > 6) {
    context.fillStyle = inks.text;
    context.globalAlpha *= 0.4;
    for (let at = x + 3; at < x + width - 3; at += 4) context.fillRect(at, y + ROW - GAP - 2, 2, 1);
    context.globalAlpha = node.depth < scene.zoomDepth ? 0.5 : 1;
  }
  if (width > 22) {
    context.fillStyle = miss ? inks.dimmedText : inks.text;
    if (kind === "inlined" || kind === "other") context.font = `italic ${FONT}`;
    const label = fit(context, node.name, width - 2 * PAD);
    if (label !== "") context.fillText(label, x + PAD, y + (ROW - GAP) / 2 + 0.5);
    if (kind === "inlined" || kind === "other") context.font = FONT;
  }
  context.globalAlpha = 1;
}

function shape(context: CanvasRenderingContext2D, x: number, y: number, width: number, height: number): void {
  context.beginPath();
  if (width > 6) context.roundRect(x, y, width, height, 2.5);
  else context.rect(x, y, width, height);
}

function ring(context: CanvasRenderingContext2D, node: TreeNode | null, scene: Scene, inks: Inks): void {
  const bar = node && scene.layout.rows[node.depth]?.find((one) => one.node === node);
  if (!bar) return;
  context.strokeStyle = inks.ring;
  context.lineWidth = 1.5;
  shape(context, bar.x + 0.5, bar.node.depth * ROW - scene.scrollTop + 0.5, Math.max(bar.width - GAP - 1, 1), ROW - GAP - 1);
  context.stroke();
}

const widths = new Map<string, number>();

function widthOf(context: CanvasRenderingContext2D, text: string): number {
  let width = widths.get(text);
  if (width === undefined) {
    if (widths.size > 50_000) widths.clear();
    widths.set(text, (width = context.measureText(text).width));
  }
  return width;
}

// The whole name, or its telling part, or the beginning of that.
function fit(context: CanvasRenderingContext2D, name: string, room: number): string {
  if (name.length < 300 && widthOf(context, name) <= room) return name;
  const short = shortName(name).slice(0, 300);
  const width = widthOf(context, short);
  if (width <= room) return short;
  // A guess from the mean width of a letter, then shorter until it fits.
  for (let letters = Math.min(short.length - 1, Math.ceil((room / width) * short.length)); letters >= 2; letters--) {
    const label = `${short.slice(0, letters)}…`;
    if (context.measureText(label).width <= room) return label;
  }
  return "";
}
