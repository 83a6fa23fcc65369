// Places of bars, hits, neighbors, search and the files that leave the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { paletteOf } from "../../src/paint/color";
import { annotate } from "../../src/profile/detail";
import { foldedText, svgText } from "../../src/profile/export";
import { barAt, layout, neighbor, windowOf } from "../../src/profile/layout";
import { search } from "../../src/profile/search";
import { find, PPROF, PPROF_FOLDED, tree } from "./trees";

const ROOT = tree("a;b 20\na;c 30\nd 50");

test("bars share the width by value, children behind their parent's own time", () => {
  const { rows } = layout(tree("a 10\na;b 90"), { start: 0, end: 100 }, 200);
  assert.deepEqual(rows.map((row) => row.map(({ node, x, width }) => `${node.name}@${x}+${width}`)), [["total@0+200"], ["a@0+200"], ["b@20+180"]]);
});

test("a window shows its part alone, ancestors over the whole width", () => {
  const { rows } = layout(ROOT, windowOf(find(ROOT, "a", "c")), 100);
  assert.deepEqual(rows.map((row) => row.map(({ node, x, width }) => `${node.name}@${x}+${width}`)), [["total@0+100"], ["a@0+100"], ["c@0+100"]]);
});

test("frames too narrow to draw become crumbs, neighbors one", () => {
  const wide = tree(`${Array.from({ length: 200 }, (_, i) => `tiny${i};below 1`).join("\n")}\nzz 99800`);
  const { rows, crumbs } = layout(wide, windowOf(wide), 1000);
  assert.deepEqual(rows[1]!.map((bar) => bar.node.name), ["zz"]);
  assert.equal(crumbs.length, 1);
  assert.ok(Math.abs(crumbs[0]!.width - 2) < 1e-6);
  assert.equal(rows.length, 2);
});

test("every place hits the bar that is drawn there", () => {
  const { rows } = layout(ROOT, windowOf(ROOT), 1000);
  for (const row of rows) for (const bar of row) for (const x of [bar.x, bar.x + bar.width / 2, bar.x + bar.width - 0.01]) assert.equal(barAt(rows, bar.node.depth, x)?.node, bar.node);
  assert.equal(barAt(rows, 2, 999), null);
  assert.equal(barAt(rows, 9, 1), null);
});

test("ten thousand frames are placed within a frame of the screen", () => {
  const lines = Array.from({ length: 2500 }, (_, i) => `a${i % 50};b${i % 700};c${i};d${i} ${1 + (i % 17)}`);
  const big = tree(lines.join("\n"));
  layout(big, windowOf(big), 1600);
  const begun = performance.now();
  for (let i = 0; i < 10; i++) layout(big, windowOf(big), 1600);
  assert.ok((performance.now() - begun) / 10 < 50);
});

test("arrows lead to parent, largest child and siblings", () => {
  const a = find(ROOT, "a");
  assert.equal(neighbor(a, "up"), ROOT);
  assert.equal(neighbor(a, "down").name, "c");
  assert.equal(neighbor(a, "right").name, "d");
  assert.equal(neighbor(a, "left"), a);
  assert.equal(neighbor(ROOT, "up"), ROOT);
});

test("search counts what lies under matches once", () => {
  const root = tree("foo;foo;bar 10\nbaz;Foo 5\nbar 85");
  const matched = (query: string) => search(root, query)!.total;
  assert.equal(matched("foo"), 15);
  assert.equal(matched("BAR"), 95);
  assert.equal(matched("/^ba[rz]$/"), 100);
  assert.equal(matched("/[/"), 0);
  assert.equal(matched("total"), 0);
  assert.equal(search(root, "  "), null);
  assert.equal(search(root, "foo")!.nodes.size, 3);
});

test("search looks at modules, packages and files too", () => {
  const root = tree(PPROF_FOLDED);
  annotate(root, PPROF);
  assert.equal(search(root, "module:app")!.total, 100);
  assert.equal(search(root, "file:work.c")!.total, 90);
  assert.equal(search(root, "package:kernel")!.total, 10);
});

test("folded text is one line a stack with its own value", () => {
  assert.equal(foldedText(tree("a;b 2\na 1\nx 4")), "a 1\na;b 2\nx 4\n");
  const odd = tree("a 1");
  odd.children[0]!.name = "semi;colon";
  assert.equal(foldedText(odd), "semi:colon 1\n");
});

test("the SVG escapes names", () => {
  const root = tree("<script>alert(1)</script>&\"' 5");
  const svg = svgText(root, "a<b", { unit: "nanoseconds", scale: 1, total: root.total, seconds: 1 }, paletteOf(root, "name", "light"));
  assert.ok(!svg.includes("<script"));
  assert.ok(svg.includes("&#60;script&#62;alert(1)&#60;/script&#62;&#38;&#34;&#39;"));
  assert.ok(svg.startsWith("<svg ") && svg.endsWith("</svg>\n"));
});

test("groups of a palette add up to the whole and keep their colors", () => {
  const root = tree(PPROF_FOLDED);
  annotate(root, PPROF);
  const { groups } = paletteOf(root, "module", "dark");
  assert.deepEqual(groups.map(({ name, self }) => `${name} ${self}`), ["app 90", "kernel 10"]);
  assert.deepEqual(paletteOf(root, "module", "dark").groups, groups);
});
