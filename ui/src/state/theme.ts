// Dark or light: as the system says, unless the reader chose otherwise; the choice stays in this browser.

import { useEffect, useState } from "preact/hooks";

export type Theme = "dark" | "light";
const KEY = "pilotlight.theme";

export function useTheme(): [Theme, () => void] {
  const [chosen, setChosen] = useState<Theme | null>(stored);
  const [system, setSystem] = useState<Theme>(() => (dark().matches ? "dark" : "light"));
  useEffect(() => {
    const media = dark();
    const follow = () => setSystem(media.matches ? "dark" : "light");
    media.addEventListener("change", follow);
    return () => media.removeEventListener("change", follow);
  }, []);
  const theme = chosen ?? system;
  document.documentElement.dataset["theme"] = theme;
  const flip = () => {
    const next = theme === "dark" ? "light" : "dark";
    setChosen(next);
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
  };
  return [theme, flip];
}

function dark(): MediaQueryList {
  return matchMedia("(prefers-color-scheme: dark)");
}

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : null;
  } catch {
    return null;
  }
}
