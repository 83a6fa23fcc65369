// Files, lines, modules and kinds that the pprof lends to the tree.

import assert from "node:assert/strict";
import { test } from "node:test";
import { annotate, modulesOf, sourceOf } from "../../src/profile/detail";
import { functionRows, sortRows } from "../../src/profile/functions";
import { isKernelModule, kindOf, packageOf, packageOfName, shortName } from "../../src/profile/origin";
import { find, PPROF, PPROF_FOLDED, tree } from "./trees";

function detailed() {
  const root = tree(PPROF_FOLDED);
  annotate(root, PPROF);
  return root;
}

test("a frame has the source of its heaviest location", () => {
  const root = detailed();
  assert.equal(sourceOf(find(root, "main").detail!.main), "/src/main.c:12");
  assert.equal(sourceOf(find(root, "main", "work").detail!.main), "/src/work.c:33");
  assert.equal(find(root, "main").detail!.weights.size, 2);
});

test("functions of one name in two modules are both seen", () => {
  const work = find(detailed(), "main", "work");
  assert.deepEqual(modulesOf(work.detail!), ["/usr/bin/app", "/usr/lib/liba.so"]);
});

test("kernel, inlined, user and other frames are told apart", () => {
  const root = detailed();
  assert.equal(kindOf(find(root, "main", "do_syscall_64")), "kernel");
  assert.equal(kindOf(find(root, "main", "work", "tiny")), "inlined");
  assert.equal(kindOf(find(root, "main")), "user");
  assert.equal(kindOf(root), "root");
  assert.equal(kindOf(find(tree("a;other 3\na 1"), "a", "other")), "other");
});

test("of the modules in brackets only the kernel's are the kernel", () => {
  for (const module of ["[kernel.kallsyms]", "[nf_tables]", "[bpf]", "[kvm-intel]", "[8021q]"]) assert.ok(isKernelModule(module), module);
  const others = ["[jit]", "[unknown]", "[vdso]", "[vsyscall]", "[vvar]", "[uprobes]", "[heap]", "[stack]", "[stack:17]", "[anon]", "[anon:arena]", "[anon_shmem:x]", "", "/tmp/[x]", "[/tmp/x]", "[a b]"];
  for (const module of others) assert.ok(!isKernelModule(module), module);
});

test("stacks that the tree cut off are followed as far as it goes", () => {
  const root = tree("main;other 100");
  annotate(root, PPROF);
  assert.equal(find(root, "main").detail!.main.line, 12);
  assert.equal(find(root, "main", "other").detail, null);
});

test("an empty or broken pprof lends nothing", () => {
  const root = tree(PPROF_FOLDED);
  annotate(root, {});
  annotate(root, { sample: [{ locationId: ["99"], value: ["5"] }, {}] });
  assert.equal(find(root, "main").detail, null);
});

test("packages come from names", () => {
  const expected: [string, string][] = [
    ["net/http.(*conn).serve", "net/http"],
    ["github.com/acme/shop/cart.Total", "github.com/acme/shop/cart"],
    ["main.work", "main"],
    ["tokio::runtime::Runtime::block_on", "tokio"],
    ["<alloc::vec::Vec<T> as core::ops::Drop>::drop", "alloc"],
    ["<&mut serde_json::de::Deserializer<R> as x>::y", "serde_json"],
    ["memcpy", ""],
    ["0x7f001234", ""],
    ["libc.so.6+0x1234", ""],
    ["", ""],
  ];
  for (const [name, want] of expected) assert.equal(packageOfName(name), want, name);
  assert.equal(packageOf(find(detailed(), "main", "do_syscall_64")), "kernel");
});

test("short names keep what tells", () => {
  assert.equal(shortName("indexer::posting::Posting::merge"), "Posting::merge");
  assert.equal(shortName("<roaring::RoaringBitmap as core::ops::BitOrAssign>::bitor_assign"), "RoaringBitmap::bitor_assign");
  assert.equal(shortName("github.com/acme/shop/cart.Total"), "cart.Total");
  assert.equal(shortName("memcpy"), "memcpy");
  assert.equal(shortName("::"), "::");
});

test("the table has one row a function and module, recursion counted once", () => {
  const rows = functionRows(tree("a;a;b 3\na;b 2\nb;a 1"));
  const shown = sortRows(rows, { key: "total", descending: true }).map(({ name, self, total }) => `${name} ${self}/${total}`);
  assert.deepEqual(shown, ["a 1/6", "b 5/6"]);
  const work = functionRows(detailed()).find((row) => row.name === "work")!;
  assert.deepEqual({ ...work, key: "" }, { key: "", name: "work", module: "app", source: "/src/work.c:33", self: 30, total: 90 });
});

test("rows sort by each column in both directions", () => {
  const rows = functionRows(tree("a 1\nb 3\nc 2"));
  const by = (key: "name" | "self", descending: boolean) => sortRows(rows, { key, descending }).map((row) => row.name).join("");
  assert.deepEqual([by("self", true), by("self", false), by("name", false), by("name", true)], ["bca", "acb", "abc", "cba"]);
});
