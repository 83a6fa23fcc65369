// The page's few icons, drawn with the color of the text around them.

import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

export const SearchIcon = () => <Icon><circle cx="7" cy="7" r="4.2" /><path d="m10.2 10.2 3.3 3.3" /></Icon>;
export const RefreshIcon = () => <Icon><path d="M13.2 8a5.2 5.2 0 1 1-1.5-3.7l1.5 1.5" /><path d="M13.2 2.5v3.3H9.9" /></Icon>;
export const SunIcon = () => <Icon><circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" /></Icon>;
export const MoonIcon = () => <Icon><path d="M13 9.6A5.6 5.6 0 0 1 6.4 3 5.6 5.6 0 1 0 13 9.6z" /></Icon>;
export const DownloadIcon = () => <Icon><path d="M8 2v7.5M4.8 6.6 8 9.8l3.2-3.2M2.5 13.5h11" /></Icon>;
export const FilterIcon = () => <Icon><path d="M2 3h12L9.5 8.5v4.2l-3 1.3V8.5z" /></Icon>;
export const ZoomOutIcon = () => <Icon><circle cx="7" cy="7" r="4.2" /><path d="m10.2 10.2 3.3 3.3M5.2 7h3.6" /></Icon>;
export const CloseIcon = () => <Icon><path d="m4 4 8 8M12 4l-8 8" /></Icon>;
export const CalendarIcon = () => <Icon><rect x="2" y="3" width="12" height="11" rx="1.5" /><path d="M2 6.5h12M5.2 1.5V4M10.8 1.5V4" /></Icon>;

export const Flame = () => (
  <svg class="flame-mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
    <defs>
      <linearGradient id="flame-mark" x1="0" y1="0" x2="0" y2="1">
        <stop offset="0" stop-color="#ffd166" />
        <stop offset=".55" stop-color="#ff9240" />
        <stop offset="1" stop-color="#f2542d" />
      </linearGradient>
    </defs>
    <path fill="url(#flame-mark)" d="M16.6 1.5c1.2 5.2 9.4 9.2 9.4 18A10 10.5 0 0 1 6 19.6c0-4.5 2.3-7.2 4.3-9.8.5 2.3 1.4 3.5 2.6 4.2-.5-5 .7-9.4 3.7-12.5z" />
    <path fill="#4cc9f0" d="M16.2 16.5c.7 2.7 4 4.2 4 7.7a4.3 4.5 0 0 1-8.6 0c0-2.3 1.2-3.6 2.1-4.7.3 1 .7 1.5 1.3 1.9-.2-2 .2-3.6 1.2-4.9z" />
  </svg>
);
