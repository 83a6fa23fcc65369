// Keys that work anywhere on the page: / goes to the search, Escape takes back search, then zoom.

import { useEffect } from "preact/hooks";
import type { PageState } from "../state/url";
import type { SetState } from "../state/use_page_state";

interface Wiring {
  searchBox: { current: HTMLInputElement | null };
  state: PageState;
  onChange: SetState;
}

export function useShortcuts({ searchBox, state, onChange }: Wiring): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
      if (event.key === "/" && !typing && searchBox.current) {
        event.preventDefault();
        searchBox.current.focus();
        searchBox.current.select();
      } else if (event.key === "Escape" && (!typing || event.target === searchBox.current)) {
        if (state.search !== "") onChange({ search: "" }, "replace");
        else if (state.zoom !== "") onChange({ zoom: "" });
      }
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [state.search, state.zoom]);
}
