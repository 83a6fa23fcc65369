// What stands in place of a profile: loading, nothing there yet, nothing here, or what the server said went wrong.

import type { ComponentChildren } from "preact";
import { Flame } from "./icons";

export function LoadingState() {
  return (
    <div class="state" role="status">
      <div class="skeleton-flame" aria-hidden="true">
        {[100, 82, 64, 58, 33, 20].map((width) => <span key={width} style={{ width: `${width}%` }} />)}
      </div>
      <span class="hidden">Loading the profile</span>
    </div>
  );
}

/** Nothing at all has come in: what to do. */
export function NoProfilesState({ waiting }: { waiting: boolean }) {
  const url = location.origin;
  return (
    <div class="state empty">
      <Flame />
      <h2>No profiles yet: is the agent running?</h2>
      <p>Profiles show up about 15 seconds after the first agent starts. Start one as root on any machine that reaches this server:</p>
      <pre><code>sudo pilotlight agent --server {url}</code></pre>
      <p>Or let an application push its own: every Pyroscope client works, with the server address <code>{url}</code>.</p>
      {waiting && <p class="waiting" role="status"><span class="pulse" /> Looking every few seconds</p>}
    </div>
  );
}

/** There are profiles, but none that fit the choice. */
export function NothingHereState({ children }: { children?: ComponentChildren }) {
  return (
    <div class="state empty">
      <h2>Nothing in this range</h2>
      <p>No samples fit the service, profile type, labels and time that are chosen.</p>
      <div class="state-actions">{children}</div>
    </div>
  );
}

export function ErrorState({ error, onRetry, children }: { error: Error; onRetry: () => void; children?: ComponentChildren }) {
  return (
    <div class="state error" role="alert">
      <h2>The server could not answer</h2>
      <p class="error-message">{error.message}</p>
      <div class="state-actions">
        <button type="button" class="button" onClick={onRetry}>Try again</button>
        {children}
      </div>
    </div>
  );
}
