// The page's state in a hook: read from the URL, written back to it, followed on back and forward.

import { useCallback, useEffect, useState } from "preact/hooks";
import { formatUrl, parseUrl, type PageState } from "./url";

export type SetState = (change: Partial<PageState>, how?: "push" | "replace") => void;

/** What a history entry remembers besides its URL. */
export interface EntryMemory {
  /** The range that was left by zooming into the timeline. */
  zoomedFrom?: { from: string; until: string; before: EntryMemory["zoomedFrom"] } | undefined;
}

export function usePageState(): [PageState, SetState] {
  const [state, setState] = useState(() => parseUrl(location.search));
  useEffect(() => {
    const follow = () => setState(parseUrl(location.search));
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);
  const change = useCallback<SetState>((part, how = "push") => {
    const current = parseUrl(location.search);
    const next = { ...current, ...part };
    const url = location.pathname + formatUrl(next);
    if (how === "push" && formatUrl(current) !== formatUrl(next)) history.pushState(history.state, "", url);
    else history.replaceState(history.state, "", url);
    setState(next);
  }, []);
  return [state, change];
}

export function entryMemory(): EntryMemory {
  return (history.state as EntryMemory | null) ?? {};
}

export function remember(memory: EntryMemory): void {
  history.replaceState(memory, "");
}
