// The way from the root to the frame that is zoomed to.

import { shortName } from "../profile/origin";
import { ancestry, type TreeNode } from "../profile/tree";

interface Props {
  zoomed: TreeNode;
  onZoom: (node: TreeNode) => void;
}

const TAIL = 4;

export function Breadcrumbs({ zoomed, onZoom }: Props) {
  const chain = ancestry(zoomed);
  if (chain.length === 1) return null;
  const tail = chain.slice(Math.max(1, chain.length - TAIL));
  const skipped = chain.length - 1 - tail.length;
  return (
    <nav class="crumbs" aria-label="Zoomed to">
      <button type="button" class="crumb" onClick={() => onZoom(chain[0]!)}>Everything</button>
      {skipped > 0 && <span class="crumb-gap">… {skipped} …</span>}
      {tail.map((node) => (
        <button key={node.path} type="button" class="crumb" aria-current={node === zoomed ? "location" : undefined} title={node.name} onClick={() => onZoom(node)}>
          {shortName(node.name)}
        </button>
      ))}
      <button type="button" class="button small" onClick={() => onZoom(chain[0]!)}>Reset zoom</button>
    </nav>
  );
}
