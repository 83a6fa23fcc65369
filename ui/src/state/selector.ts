// Label selectors: parses what a person types into the filter box and writes what the API takes.

export interface Matcher {
  name: string;
  op: "=" | "!=" | "=~" | "!~";
  value: string;
}

export type Parsed = { ok: true; matchers: Matcher[] } | { ok: false; message: string };

const NAME = /^[A-Za-z_][A-Za-z0-9_.]*/;
const OP = /^(=~|!~|!=|=)/;

/** Matchers of `comm="worker", cgroup=~"/sys.*"`, with or without braces; a value without quotes is taken up to the comma. */
export function parseSelector(text: string): Parsed {
  let rest = text.trim();
  if (rest.startsWith("{")) {
    if (!rest.endsWith("}")) return fail("the closing } is missing");
    rest = rest.slice(1, -1).trim();
  }
  const matchers: Matcher[] = [];
  while (rest !== "") {
    const name = NAME.exec(rest)?.[0];
    if (!name) return fail(`a label name was expected at ${quote(rest.slice(0, 12))}`);
    rest = rest.slice(name.length).trimStart();
    const op = OP.exec(rest)?.[0] as Matcher["op"] | undefined;
    if (!op) return fail(`after ${name} one of = != =~ !~ was expected`);
    const value = takeValue(rest.slice(op.length).trimStart());
    if (value === null) return fail(`the value of ${name} has no closing quote`);
    // Whether a regular expression is right only the server can say: its syntax is not JavaScript's.
    matchers.push({ name, op, value: value.text });
    rest = value.rest.trimStart();
    if (rest === "") break;
    if (!rest.startsWith(",")) return fail(`a comma was expected at ${quote(rest.slice(0, 12))}`);
    rest = rest.slice(1).trimStart();
  }
  return { ok: true, matchers };
}

/** `{a="b",c=~"d"}`; no matcher at all is `{}`, which selects everything. */
export function formatSelector(matchers: readonly Matcher[]): string {
  return `{${matchers.map(formatMatcher).join(",")}}`;
}

export function formatMatcher({ name, op, value }: Matcher): string {
  return `${name}${op}${quote(value)}`;
}

/** The selector of one service under the filter; no service means all. A filter that does not parse goes to the server as it is, which says what is wrong with it. */
export function selectorOf(service: string, filter: string): string {
  const parsed = parseSelector(filter);
  const own = service === "" ? [] : [formatMatcher({ name: "service_name", op: "=", value: service })];
  if (parsed.ok) return `{${[...own, ...parsed.matchers.map(formatMatcher)].join(",")}}`;
  const text = filter.trim();
  return `{${[...own, text.startsWith("{") ? text.slice(1) : `${text}}`].join(",")}`;
}

function takeValue(text: string): { text: string; rest: string } | null {
  const mark = text[0];
  if (mark !== '"' && mark !== "'" && mark !== "`") {
    const end = text.indexOf(",");
    return end < 0 ? { text: text.trim(), rest: "" } : { text: text.slice(0, end).trim(), rest: text.slice(end) };
  }
  let value = "";
  for (let i = 1; i < text.length; i++) {
    const char = text[i]!;
    if (char === mark) return { text: value, rest: text.slice(i + 1) };
    if (char === "\\" && mark !== "`") {
      const next = text[++i];
      if (next === undefined) return null;
      value += next === "n" ? "\n" : next === "t" ? "\t" : next === '"' || next === "'" || next === "\\" ? next : `\\${next}`;
    } else value += char;
  }
  return null;
}

function quote(text: string): string {
  return `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`;
}

function fail(message: string): Parsed {
  return { ok: false, message };
}
