// Moves the window onto the tree smoothly to where it shall be; at once where less motion is wanted.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Window } from "../profile/layout";

const DURATION_MS = 220;

/** `subject` is the tree: windows of different trees are not mixed. */
export function useAnimatedWindow(target: Window, subject: object): [Window, boolean] {
  const [shown, setShown] = useState({ window: target, subject, moving: false });
  const from = useRef(shown.window);
  from.current = shown.window;
  useEffect(() => {
    if (shown.subject !== subject || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      setShown({ window: target, subject, moving: false });
      return;
    }
    const start = from.current;
    if (start.start === target.start && start.end === target.end) return;
    const begun = performance.now();
    let frame = requestAnimationFrame(function step(now) {
      const done = Math.min(1, Math.max(0, (now - begun) / DURATION_MS));
      const ease = 1 - (1 - done) ** 3;
      const window = { start: start.start + (target.start - start.start) * ease, end: start.end + (target.end - start.end) * ease };
      setShown({ window: done < 1 ? window : target, subject, moving: done < 1 });
      if (done < 1) frame = requestAnimationFrame(step);
    });
    return () => cancelAnimationFrame(frame);
  }, [target.start, target.end, subject]);
  return shown.subject === subject ? [shown.window, shown.moving] : [target, false];
}
