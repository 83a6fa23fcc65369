// The moment that "now" means on the page: moves on by itself as often as the refresh setting says, and when asked to.

import { useCallback, useEffect, useState } from "preact/hooks";
import { parseDuration } from "./time";
import type { Refresh } from "./url";

export function useClock(refresh: Refresh, live: boolean): [number, () => void] {
  const [nowMs, setNowMs] = useState(() => Date.now());
  const tick = useCallback(() => setNowMs(Date.now()), []);
  useEffect(() => {
    const every = refresh === "off" || !live ? null : parseDuration(refresh);
    if (every === null) return;
    // A hidden page asks nothing; it catches up when it is looked at again.
    const timer = setInterval(() => document.hidden || tick(), every);
    const wake = () => document.hidden || tick();
    document.addEventListener("visibilitychange", wake);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", wake);
    };
  }, [refresh, live]);
  return [nowMs, tick];
}
