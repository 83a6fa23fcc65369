// Runs a request again when its key changes; a newer one cancels the older, and what was there stays until the new is.

import { useEffect, useRef, useState } from "preact/hooks";
import { isAbort } from "../api/connect";

export interface Loaded<T> {
  /** The latest answer; with an error beside it, one that could not be renewed. */
  data: T | null;
  error: Error | null;
  loading: boolean;
}

/** `key` decides when to ask again, `subject` when the old answer is about something else and must go. */
export function useQuery<T>(key: string, subject: string, run: (signal: AbortSignal, show: (data: T) => void) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<Loaded<T> & { subject: string }>({ data: null, error: null, loading: true, subject });
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    setState((old) => ({ data: old.subject === subject ? old.data : null, error: old.subject === subject ? old.error : null, loading: true, subject }));
    const show = (data: T) => {
      if (!signal.aborted) setState({ data, error: null, loading: true, subject });
    };
    latest.current(signal, show).then(
      (data) => {
        if (!signal.aborted) setState({ data, error: null, loading: false, subject });
      },
      (error: unknown) => {
        if (signal.aborted || isAbort(error)) return;
        setState((old) => ({ data: old.subject === subject ? old.data : null, error: error instanceof Error ? error : new Error(String(error)), loading: false, subject }));
      },
    );
    return () => controller.abort();
  }, [key, subject]);
  return state.subject === subject ? state : { data: null, error: null, loading: true };
}
