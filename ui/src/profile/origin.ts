// Where a function comes from: kernel or not, its module, and the package that its name tells (Rust crate, Go package, C++ namespace).

import type { TreeNode } from "./tree";

export type Kind = "kernel" | "inlined" | "user" | "other" | "root";

export function kindOf(node: TreeNode): Kind {
  if (!node.parent) return "root";
  if (node.name === "other" && !node.detail && node.children.length === 0) return "other";
  if (isKernelModule(node.detail?.main.module ?? "")) return "kernel";
  return node.detail?.main.inlined ? "inlined" : "user";
}

/** Memory of processes that is written in brackets, too, and what stands where no module is known. */
const NOT_KERNEL = new Set(["[jit]", "[unknown]", "[vdso]", "[vsyscall]", "[vvar]", "[vvar_vclock]", "[uprobes]", "[heap]", "[stack]", "[anon]"]);

/** Modules of the kernel are written in brackets: `[kernel.kallsyms]`, `[nf_tables]`, `[bpf]`. */
export function isKernelModule(module: string): boolean {
  return /^\[[\w.-]+\]$/.test(module) && !NOT_KERNEL.has(module);
}

/** The last part of a path. */
export function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function moduleOf(node: TreeNode): string {
  return basename(node.detail?.main.module ?? "");
}

/** The package of a node: the kernel as a whole, else what its name tells, else its module. */
export function packageOf(node: TreeNode): string {
  const module = node.detail?.main.module ?? "";
  if (isKernelModule(module)) return "kernel";
  return packageOfName(node.name) || basename(module);
}

/** `net/http` of `net/http.(*conn).serve`, `tokio` of `<tokio::task::Id as Debug>::fmt`; empty for a plain C name. */
export function packageOfName(name: string): string {
  // `module+0x1234` is how an address without a symbol is written: its module tells more.
  if (/\+?0x[0-9a-f]+$/.test(name)) return "";
  const plain = name.replace(/^[<&*(\s]*(?:(?:dyn|mut|impl)\s+)?/, "");
  const scope = /^([A-Za-z_][\w$-]*)::/.exec(plain);
  if (scope) return scope[1]!;
  const go = /^((?:[\w.~-]+\/)*[\w~-]+)\.[\w(*[{]/.exec(name);
  return go ? go[1]! : "";
}

/** A shorter name that still tells the function: without arguments, generics and outer scopes. */
export function shortName(name: string): string {
  const slash = name.lastIndexOf("/");
  if (slash > 0 && !name.includes("::")) return name.slice(slash + 1);
  if (!name.includes("::")) return name;
  const bare = dropBrackets(name);
  const parts = bare.split("::").filter((part) => part !== "");
  const last = parts.slice(-2).join("::");
  return last === "" ? name : last;
}

// Removes `<…>` and `(…)` groups, unless the name begins with one.
function dropBrackets(name: string): string {
  let depth = 0;
  let bare = "";
  for (const char of name.replace(/^<(.*?)( as .*?)?>::/, "$1::")) {
    if (char === "<" || char === "(") depth++;
    else if (char === ">" || char === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0) bare += char;
  }
  return bare;
}
