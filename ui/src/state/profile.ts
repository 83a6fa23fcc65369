// Loads a flame graph and, behind it, the pprof that tells files, lines and modules.

import { pprof, type Query } from "../api/querier";
import { isAbort } from "../api/connect";
import { annotate } from "../profile/detail";
import type { TreeNode } from "../profile/tree";

export interface Profile {
  root: TreeNode | null;
  detailed: boolean;
}

/** A flame graph whose details follow this soon is shown once, with them: its colors then do not change under the reader's eyes. */
const PATIENCE_MS = 400;

export async function loadProfile(query: Query, graph: Promise<TreeNode | null>, signal: AbortSignal, show: (profile: Profile) => void): Promise<Profile> {
  const details = pprof(query, signal).catch((error: unknown) => {
    // Without details the flame graph is still worth showing.
    if (isAbort(error)) throw error;
    return null;
  });
  details.catch(() => undefined);
  const root = await graph;
  if (!root) return { root, detailed: false };
  const timer = setTimeout(() => show({ root, detailed: false }), PATIENCE_MS);
  try {
    const message = await details;
    if (message) annotate(root, message);
    return { root, detailed: message !== null };
  } finally {
    clearTimeout(timer);
  }
}
