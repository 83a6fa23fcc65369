// Selectors, URLs, times, completion, numbers and the request in protobuf.

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeSelectMergeProfile } from "../../src/api/proto";
import { formatBytes, formatCores, formatCount, formatDuration, formatLength, formatShare, scaleOf, unitOf } from "../../src/profile/format";
import { completionAt } from "../../src/state/completion";
import { formatSelector, parseSelector, selectorOf } from "../../src/state/selector";
import { parseDuration, parseMoment, presetOf, resolve, stepFor, wholeWindows, widen } from "../../src/state/time";
import { DEFAULTS, formatUrl, parseUrl } from "../../src/state/url";

test("selectors parse with and without braces, quotes and spaces", () => {
  const expected: [string, string][] = [
    ["", "{}"],
    ["{}", "{}"],
    ['comm="worker"', '{comm="worker"}'],
    ["comm=worker, node!=db1", '{comm="worker",node!="db1"}'],
    ['{ comm =~ "a|b" , exe !~ "/usr/.*" }', '{comm=~"a|b",exe!~"/usr/.*"}'],
    ['x="a\\"b\\\\c,d"', '{x="a\\"b\\\\c,d"}'],
    ['comm=~"(?i)WORKER"', '{comm=~"(?i)WORKER"}'],
    ['a=~"("', '{a=~"("}'],
    ["x=`\\d+`", '{x="\\\\d+"}'],
    ['x=~"\\d"', '{x=~"\\\\d"}'],
    ['a="1",', '{a="1"}'],
  ];
  for (const [text, want] of expected) {
    const parsed = parseSelector(text);
    assert.ok(parsed.ok, text);
    assert.equal(formatSelector(parsed.matchers), want, text);
  }
});

test("selectors that are wrong say what is", () => {
  const expected: [string, RegExp][] = [
    ["comm", /after comm one of/],
    ['comm="a', /no closing quote/],
    ['comm="a" node="b"', /a comma was expected/],
    ['="x"', /label name/],
    ['{a="b"', /closing }/],
  ];
  for (const [text, want] of expected) {
    const parsed = parseSelector(text);
    assert.ok(!parsed.ok && want.test(parsed.message), text);
  }
});

test("a service is selected together with the filter", () => {
  assert.equal(selectorOf("", ""), "{}");
  assert.equal(selectorOf('we"ird', 'comm="a"'), '{service_name="we\\"ird",comm="a"}');
  // What does not parse here is the server's to refuse: without it everything would be shown.
  assert.equal(selectorOf("x", "broken("), '{service_name="x",broken(}');
  assert.equal(selectorOf("", "broken("), "{broken(}");
  assert.equal(selectorOf("x", ' {comm="a"'), '{service_name="x",comm="a"');
  assert.equal(selectorOf("", '{comm="a"'), '{comm="a"');
});

test("the URL holds the state and leaves defaults out", () => {
  assert.equal(formatUrl(DEFAULTS), "");
  const state = { ...DEFAULTS, service: "a b&c", from: "1700000000000", until: "1700000060000", view: "table" as const, search: "<x>", filter: 'a="b"' };
  assert.deepEqual(parseUrl(formatUrl(state)), state);
  assert.deepEqual(parseUrl("?view=evil&refresh=1ms&color=9&unknown=1"), DEFAULTS);
});

test("times are durations, now, or milliseconds", () => {
  assert.equal(parseDuration("15m"), 900_000);
  assert.equal(parseDuration("7d"), 604_800_000);
  assert.equal(parseDuration("15"), null);
  assert.equal(parseMoment("now", 5), 5);
  assert.equal(parseMoment("now-10s", 100_000), 90_000);
  assert.equal(parseMoment("1700000000000", 0), 1_700_000_000_000);
  assert.equal(parseMoment("yesterday", 0), null);
  assert.equal(presetOf({ from: "now-1h", until: "now" }), "1h");
  assert.equal(presetOf({ from: "now-2h", until: "now" }), null);
});

test("a range that makes no sense becomes the default", () => {
  const now = 10_000_000;
  for (const range of [{ from: "x", until: "now" }, { from: "now", until: "now-1h" }, { from: "5", until: "5" }]) assert.deepEqual(resolve(range, now), { fromMs: now - 900_000, untilMs: now });
});

test("widening doubles and stops at now", () => {
  assert.deepEqual(widen({ fromMs: 1000, untilMs: 2000 }, 10_000), { fromMs: 500, untilMs: 2500 });
  assert.deepEqual(widen({ fromMs: 1000, untilMs: 2000 }, 2100), { fromMs: 100, untilMs: 2100 });
});

test("steps are round, at least a window, and few enough", () => {
  const step = (hours: number, windowS = 10) => stepFor({ fromMs: 0, untilMs: hours * 3600e3 }, 240, windowS);
  assert.deepEqual([step(0.25), step(1), step(6), step(24), step(168), step(24 * 365 * 10)], [10, 20, 120, 600, 3600, 86400]);
  assert.deepEqual([step(0.25, 1), step(0.25, 15), step(0.25, 60), step(0.25, 600), step(24, 15)], [5, 20, 60, 600, 600]);
});

test("a selection is widened to whole windows", () => {
  const widened = (fromMs: number, untilMs: number, windowS: number) => Object.values(wholeWindows({ fromMs, untilMs }, windowS));
  assert.deepEqual(widened(61_000, 64_000, 10), [60_000, 69_999]);
  assert.deepEqual(widened(59_000, 61_000, 10), [50_000, 69_999]);
  assert.deepEqual(widened(60_000, 120_000, 60), [60_000, 119_999]);
  assert.deepEqual(widened(60_000, 60_000, 60), [60_000, 119_999]);
  assert.deepEqual(widened(700_000, 701_000, 600), [600_000, 1_199_999]);
});

test("completion offers names, then values, and keeps what stands before", async () => {
  const names = () => Promise.resolve(["comm", "cgroup", "node"]);
  const values = (name: string) => Promise.resolve(name === "comm" ? ["worker", 'we"ird'] : ["a"]);
  const offers = async (text: string) => (await completionAt(text, names, values)).map((offer) => offer.text);
  assert.deepEqual(await offers(""), ['comm="', 'cgroup="', 'node="']);
  assert.deepEqual(await offers("co"), ['comm="']);
  assert.deepEqual(await offers('comm="we'), ['comm="we\\"ird"']);
  assert.deepEqual(await offers('node="a,b", comm=~wor'), ['node="a,b", comm=~"worker"']);
  assert.deepEqual(await offers('comm="worker"'), []);
});

test("numbers read well", () => {
  const ns = [12, 1500, 2.5e6, 1.234e9, 90.3e9, 351.6e9, 7.2e13, 3e14].map(formatDuration);
  assert.deepEqual(ns, ["12 ns", "1.50 µs", "2.50 ms", "1.23 s", "90.3 s", "5.86 min", "20 h", "3.47 d"]);
  assert.deepEqual([512, 2048, 5.5 * 2 ** 30].map(formatBytes), ["512 B", "2 KiB", "5.50 GiB"]);
  assert.deepEqual([5, 12_345, 2.5e6, 3e9].map(formatCount), ["5", "12.3 k", "2.50 M", "3 G"]);
  assert.deepEqual([0, 0.004, 0.5, 1.847, 63.2].map(formatCores), ["0", "<0.01", "0.50", "1.85", "63.2"]);
  assert.deepEqual([formatShare(1, 3), formatShare(1, 2000), formatShare(1, 1e6), formatShare(3, 3), formatShare(0, 5), formatShare(1, 0)], ["33.3 %", "0.05 %", "<0.01 %", "100 %", "0.00 %", "0 %"]);
  assert.deepEqual([formatLength(90e3), formatLength(3600e3), formatLength(0)], ["1 min 30 s", "1 h", "0 s"]);
  assert.deepEqual(["nanoseconds", "microseconds", "bytes", "count", "objects"].map(unitOf), ["nanoseconds", "nanoseconds", "bytes", "count", "count"]);
  assert.deepEqual(["nanoseconds", "milliseconds", "bytes"].map(scaleOf), [1, 1e6, 1]);
});

test("the request in protobuf has the fields' numbers and long varints", () => {
  const bytes = encodeSelectMergeProfile("t", "{}", 300, 1_700_000_000_000);
  assert.equal(Buffer.from(bytes).toString("hex"), "0a017412027b7d18ac02208" + "0d095ffbc31");
});
