// What the canvas shows, as a tree that is not seen but can be read: by screen readers, and by tests with the place of each bar.

import { memo } from "./memo";
import type { Layout } from "../profile/layout";
import type { Matches } from "../profile/search";
import type { TreeNode } from "../profile/tree";
import { formatShare, type Measure } from "../profile/format";
import { ROW } from "../paint/painter";

interface Props {
  layout: Layout;
  measure: Measure;
  matches: Matches | null;
  selected: TreeNode | null;
  /** False while the window moves: nobody can read that fast. */
  settled: boolean;
  onZoom: (node: TreeNode) => void;
}

/** Bars that are wide enough to bear a name are listed, and no more than this. */
const MIN_WIDTH = 22;
const MOST = 600;

export const FrameTree = memo(function FrameTree({ layout, measure, matches, selected, onZoom }: Props) {
  const bars = layout.rows.flatMap((row) => row ?? []).filter((bar) => bar.width >= MIN_WIDTH || bar.node === selected).slice(0, MOST);
  return (
    <ul class="hidden" role="tree" aria-label="Frames of the flame graph">
      {bars.map(({ node, x, width }) => (
        <li
          key={node.path}
          id={`frame-${node.path}`}
          role="treeitem"
          aria-level={node.depth + 1}
          aria-selected={node === selected}
          data-frame={node.name}
          data-x={x.toFixed(1)}
          data-y={node.depth * ROW}
          data-width={width.toFixed(1)}
          data-height={ROW}
          data-matched={matches?.nodes.has(node) ? "true" : undefined}
          onClick={() => onZoom(node)}
        >
          {`${node.name}, ${formatShare(node.total, measure.total)} of total`}
        </li>
      ))}
    </ul>
  );
}, (before, after) => !after.settled || (before.layout === after.layout && before.matches === after.matches && before.selected === after.selected && before.measure === after.measure && before.settled));
