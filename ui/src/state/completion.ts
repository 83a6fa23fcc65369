// What may come next in a label filter: names of labels at the beginning of a matcher, values behind its operator.

export interface Completion {
  label: string;
  /** The whole filter with the offer in it. */
  text: string;
  /** The filter is whole and may be applied. */
  complete: boolean;
}

export async function completionAt(text: string, names: () => Promise<string[]>, values: (name: string) => Promise<string[]>): Promise<Completion[]> {
  const begun = lastMatcher(text);
  const before = text.slice(0, text.length - begun.length);
  const lead = before === "" || before.endsWith(" ") ? before : `${before} `;
  const half = /^\s*([A-Za-z_][\w.]*)\s*(=~|!~|!=|=)\s*"?([^"]*)$/.exec(begun);
  if (half) {
    const [, name = "", op = "=", start = ""] = half;
    const found = await values(name);
    return found
      .filter((value) => value.toLowerCase().includes(start.toLowerCase()))
      .map((value) => ({ label: value, text: `${lead}${name}${op}${JSON.stringify(value)}`, complete: true }));
  }
  const start = /^\s*([A-Za-z_][\w.]*)?$/.exec(begun);
  if (!start) return [];
  const found = await names();
  return found
    .filter((name) => name.toLowerCase().startsWith((start[1] ?? "").toLowerCase()))
    .map((name) => ({ label: name, text: `${lead}${name}="`, complete: false }));
}

// What stands behind the last comma that is not inside quotes.
function lastMatcher(text: string): string {
  let quoted = false;
  let begin = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (quoted && char === "\\") i++;
    else if (char === '"') quoted = !quoted;
    else if (char === "," && !quoted) begin = i + 1;
  }
  return text.slice(begin);
}
