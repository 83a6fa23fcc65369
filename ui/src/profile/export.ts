// A profile as folded text and as an SVG that stands alone; pure text, so that it can be tested.

import type { Palette } from "../paint/color";
import { formatAmount, formatShare, type Measure } from "./format";
import { layout, windowOf } from "./layout";
import { kindOf, shortName } from "./origin";
import { ancestry, maxDepth, walk, type TreeNode } from "./tree";

/** `root;…;leaf value` a line; a semicolon in a name becomes a colon. */
export function foldedText(root: TreeNode): string {
  const lines: string[] = [];
  walk(root, (node) => {
    if (node.self <= 0 || !node.parent) return;
    const names = ancestry(node).slice(1).map((frame) => frame.name.replace(/;/g, ":"));
    lines.push(`${names.join(";")} ${Math.round(node.self)}`);
  });
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

const WIDTH = 1200;
const ROW = 18;

export function svgText(root: TreeNode, title: string, measure: Measure, palette: Palette): string {
  const { rows } = layout(root, windowOf(root), WIDTH, 0.8);
  const height = (maxDepth(root) + 1) * ROW + 34;
  const bars = rows.flat().map(({ node, x, width }) => {
    const y = 30 + node.depth * ROW;
    const letters = Math.floor((width - 6) / 6.6);
    const name = node.name.length <= letters ? node.name : shortName(node.name);
    const label = letters < 3 ? "" : name.length <= letters ? name : `${name.slice(0, letters - 1)}…`;
    const text = label === "" ? "" : `<text x="${(x + 3).toFixed(1)}" y="${y + 12.5}">${escape(label)}</text>`;
    const about = `${node.name}\n${formatAmount(node.total, measure)}, ${formatShare(node.total, root.total)} of total`;
    return `<g><title>${escape(about)}</title><rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(width - 0.6, 0.3).toFixed(1)}" height="${ROW - 1}" rx="2" fill="${palette.fill(node, kindOf(node))}"/>${text}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="4" y="19" font-size="14" font-family="sans-serif">${escape(title)}</text>
${bars.join("\n")}
</svg>
`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
