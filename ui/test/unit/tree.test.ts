// Decoding of levels into a tree, paths, and names that nobody should have.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ancestry, arrange, cleanName, decodeTree, findByPath, maxDepth, walk } from "../../src/profile/tree";
import { find, message, show, tree } from "./trees";

test("decodes the protocol's golden vector", () => {
  const levels = [[0, 4, 0, 0], [0, 4, 0, 1], [0, 1, 0, 4, 0, 3, 2, 2], [0, 1, 1, 5, 2, 1, 1, 3]].map((values) => ({ values: values.map(String) }));
  const root = decodeTree({ names: ["total", "a", "c", "d", "b", "e"], levels, total: "4", maxSelf: "2" })!;
  assert.equal(show(root), "total 4/0\n  a 4/0\n    b 1/0\n      e 1/1\n    c 3/2\n      d 1/1");
});

test("what it decodes is what was encoded", () => {
  const root = tree("a;b;c 3\na;b 2\nd 5\na;x;y;z 7\nd;d;d 1");
  assert.equal(show(root), "total 18/0\n  a 12/0\n    b 5/2\n      c 3/3\n    x 7/0\n      y 7/0\n        z 7/7\n  d 6/5\n    d 1/0\n      d 1/1");
});

test("arranged, the largest children come first and own time last", () => {
  const root = arrange(tree("a;b 1\na;c 3\na 2\nz 9"));
  const places: string[] = [];
  walk(root, ({ name, x, total }) => places.push(`${name}@${x}+${total}`));
  assert.deepEqual(places, ["total@0+15", "z@0+9", "a@9+6", "c@9+3", "b@12+1"]);
});

test("an answer without samples is no tree", () => {
  for (const empty of [undefined, {}, { names: [], levels: [] }, { names: ["total"], levels: [{ values: ["0", "0", "0", "0"] }] }]) assert.equal(decodeTree(empty), null);
});

test("groups outside of any parent, names out of range and cut groups do no harm", () => {
  const root = decodeTree({ names: ["total"], levels: [{ values: [0, 10, 0, 0] }, { values: [0, 4, 4, 9, 8, 3, 3, 0, 1] }, { values: [5, 5, 5, 0] }] })!;
  assert.equal(show(root), "total 10/0\n  (no name) 4/4");
});

test("a path finds the same frame in another tree and tells namesakes apart", () => {
  const before = tree("a;b 1\nc;b 1");
  const after = tree("a;b 5\nc;b 3\nz 1");
  const path = find(before, "c", "b").path;
  assert.deepEqual(ancestry(findByPath(after, path)!).map((node) => node.name), ["total", "c", "b"]);
  assert.equal(findByPath(after, "nowhere"), null);
  assert.equal(findByPath(after, ""), null);
});

test("a stack of 1500 frames is no problem", () => {
  const deep = tree(`${Array.from({ length: 1500 }, (_, i) => `f${i}`).join(";")} 1`);
  assert.equal(maxDepth(deep), 1500);
  let visited = 0;
  walk(deep, () => visited++);
  assert.equal(visited, 1501);
});

test("names lose what cannot be seen or turns the writing around", () => {
  assert.equal(cleanName("a\u202eb\u0007c\nd"), "a\ufffdb\ufffdc\ufffdd");
  assert.equal(cleanName("ünï<b>"), "ünï<b>");
  assert.equal(cleanName(""), "(no name)");
  assert.equal(decodeTree(message("__proto__;constructor 1"))!.children[0]!.children[0]!.name, "constructor");
});
