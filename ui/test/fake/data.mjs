// A made-up machine: services with stacks of frames whose cost changes with the time of day, the same on every run.

const KERNEL = "[kernel.kallsyms]";
const f = (name, file = "", line = 0, module = "", inlined = false) => ({ name, file, line, module, inlined });
const k = (name) => f(name, "", 0, KERNEL);
const c = (name, module, file = "", line = 0) => f(name, file, line, module);

const syscall = [k("entry_SYSCALL_64_after_hwframe"), k("do_syscall_64")];
const libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";

function goService() {
  const m = "/srv/checkout/checkout";
  const go = (name, file, line) => f(name, `/src/checkout/${file}`, line, m);
  const serve = [f("runtime.goexit", "/usr/lib/go/src/runtime/asm_amd64.s", 1700, m), f("net/http.(*Server).Serve.gowrap3", "/usr/lib/go/src/net/http/server.go", 3454, m), f("net/http.(*conn).serve", "/usr/lib/go/src/net/http/server.go", 2102, m), f("net/http.serverHandler.ServeHTTP", "/usr/lib/go/src/net/http/server.go", 3301, m)];
  const cart = [...serve, go("main.(*Shop).handleCheckout", "shop.go", 88), go("main.(*Cart).Total", "cart.go", 41)];
  return [
    [[...cart, go("main.applyDiscounts", "discount.go", 27)], 30],
    [[...cart, go("main.applyDiscounts", "discount.go", 31), f("strings.EqualFold", "/usr/lib/go/src/strings/strings.go", 1195, m, true)], 14],
    [[...cart, go("main.convertCurrency", "currency.go", 63), f("math/big.(*Int).Mul", "/usr/lib/go/src/math/big/int.go", 189, m), f("math/big.nat.mul", "/usr/lib/go/src/math/big/nat.go", 420, m), f("math/big.mulAddVWW", "/usr/lib/go/src/math/big/arith_amd64.s", 403, m)], 21],
    [[...serve, go("main.(*Shop).handleCheckout", "shop.go", 96), f("encoding/json.Marshal", "/usr/lib/go/src/encoding/json/encode.go", 171, m), f("encoding/json.(*encodeState).marshal", "/usr/lib/go/src/encoding/json/encode.go", 297, m), f("encoding/json.structEncoder.encode", "/usr/lib/go/src/encoding/json/encode.go", 693, m)], 16],
    [[...serve, f("net/http.(*response).finishRequest", "/usr/lib/go/src/net/http/server.go", 1719, m), f("bufio.(*Writer).Flush", "/usr/lib/go/src/bufio/bufio.go", 639, m), f("syscall.write", "/usr/lib/go/src/syscall/zsyscall_linux_amd64.go", 964, m), ...syscall, k("ksys_write"), k("vfs_write"), k("sock_write_iter"), k("tcp_sendmsg"), k("tcp_sendmsg_locked"), k("tcp_write_xmit"), k("__tcp_transmit_skb"), k("ip_queue_xmit")], 11],
    [[f("runtime.gcBgMarkWorker", "/usr/lib/go/src/runtime/mgc.go", 1412, m), f("runtime.systemstack", "/usr/lib/go/src/runtime/asm_amd64.s", 514, m), f("runtime.gcDrain", "/usr/lib/go/src/runtime/mgcmark.go", 1195, m), f("runtime.scanobject", "/usr/lib/go/src/runtime/mgcmark.go", 1441, m)], 12],
    [[f("runtime.mcall", "/usr/lib/go/src/runtime/asm_amd64.s", 459, m), f("runtime.schedule", "/usr/lib/go/src/runtime/proc.go", 3996, m), f("runtime.findRunnable", "/usr/lib/go/src/runtime/proc.go", 3392, m), f("runtime.futex", "/usr/lib/go/src/runtime/sys_linux_amd64.s", 558, m), ...syscall, k("__x64_sys_futex"), k("futex_wait"), k("schedule")], 5],
  ];
}

function rustService() {
  const m = "/usr/local/bin/indexer";
  const r = (name, file, line, inlined = false) => f(name, `/build/indexer/src/${file}`, line, m, inlined);
  const base = [c("_start", m), c("__libc_start_main", libc), f("std::rt::lang_start::{{closure}}", "/rustc/library/std/src/rt.rs", 206, m), r("indexer::main", "main.rs", 19), f("tokio::runtime::Runtime::block_on", "/cargo/tokio/src/runtime/runtime.rs", 340, m), r("indexer::run::{{closure}}", "run.rs", 52)];
  return [
    [[...base, r("indexer::tokenize::<impl Tokenizer for Unicode>::next", "tokenize.rs", 77), r("core::str::Chars::next", "tokenize.rs", 79, true)], 26],
    [[...base, r("indexer::posting::Posting::merge", "posting.rs", 143), f("alloc::vec::Vec<T,A>::extend_from_slice", "/rustc/library/alloc/src/vec/mod.rs", 2511, m, true), c("__memmove_avx_unaligned_erms", libc)], 18],
    [[...base, r("indexer::posting::Posting::merge", "posting.rs", 151), f("<roaring::RoaringBitmap as core::ops::BitOrAssign>::bitor_assign", "/cargo/roaring/src/bitmap/ops.rs", 233, m)], 31],
    [[...base, r("indexer::store::Segment::write", "store.rs", 204), f("zstd::stream::Encoder::write", "/cargo/zstd/src/stream/mod.rs", 88, m), c("ZSTD_compressBlock_doubleFast", m)], 22],
    [[...base, r("indexer::store::Segment::write", "store.rs", 219), c("write", libc), ...syscall, k("ksys_write"), k("vfs_write"), k("ext4_file_write_iter"), k("ext4_buffered_write_iter"), k("generic_perform_write"), k("copy_page_from_iter_atomic")], 9],
  ];
}

function postgres() {
  const m = "/usr/lib/postgresql/15/bin/postgres";
  const p = (name, file, line) => f(name, `./src/backend/${file}`, line, m);
  const base = [c("_start", m), c("__libc_start_main", libc), p("main", "main/main.c", 198), p("PostmasterMain", "postmaster/postmaster.c", 1470), p("ServerLoop", "postmaster/postmaster.c", 1768), p("PostgresMain", "tcop/postgres.c", 4593)];
  const exec = [...base, p("exec_simple_query", "tcop/postgres.c", 1250), p("PortalRun", "tcop/pquery.c", 765), p("standard_ExecutorRun", "executor/execMain.c", 363)];
  return [
    [[...exec, p("ExecHashJoin", "executor/nodeHashjoin.c", 293), p("ExecSeqScan", "executor/nodeSeqscan.c", 112), p("heapgettup_pagemode", "access/heap/heapam.c", 906)], 24],
    [[...exec, p("ExecHashJoin", "executor/nodeHashjoin.c", 311), p("ExecScanHashBucket", "executor/nodeHash.c", 1990)], 17],
    [[...exec, p("ExecAgg", "executor/nodeAgg.c", 2175), p("advance_aggregates", "executor/nodeAgg.c", 820), p("numeric_add", "utils/adt/numeric.c", 2867)], 13],
    [[...exec, p("ExecSeqScan", "executor/nodeSeqscan.c", 112), p("ReadBufferExtended", "storage/buffer/bufmgr.c", 806), c("pread64", libc), ...syscall, k("vfs_read"), k("ext4_file_read_iter"), k("filemap_read"), k("copy_folio_to_iter")], 12],
    [[...base, p("exec_simple_query", "tcop/postgres.c", 1098), p("pg_plan_queries", "tcop/postgres.c", 972), p("standard_planner", "optimizer/plan/planner.c", 408), p("make_one_rel", "optimizer/path/allpaths.c", 222)], 8],
  ];
}

const idle = (name) => [
  [[k("ret_from_fork"), k("kthread"), k("worker_thread"), k("process_one_work"), k(name)], 5],
  [[k("ret_from_fork"), k("kthread"), k("worker_thread"), k("schedule")], 2],
];

function hostile() {
  const m = "/tmp/<img src=x onerror=alert(1)>";
  return [
    [[c("main", m), c("<script>alert('name')</script>", m), c('"><img src=x onerror=alert(2)>', m)], 4],
    [[c("main", m), c("left\u202egnp.exe\u0007", m), c("constructor", m), c("__proto__", m)], 2],
    [[c("main", m), c("{{7*7}} ${7*7} <%= 7*7 %>", m)], 1],
  ];
}

/** Service -> stacks with weights, its cores when busy, and how quickly it breathes. */
export function machine() {
  return [
    { name: "checkout", cores: 0.92, period: 173, stacks: goService() },
    { name: "postgres", cores: 0.47, period: 97, stacks: postgres() },
    { name: "indexer", cores: 0.31, period: 311, stacks: rustService() },
    { name: "kworker", cores: 0.03, period: 61, stacks: idle("blk_mq_run_work_fn") },
    { name: "pilotlight-agent", cores: 0.008, period: 45, stacks: rustService().slice(0, 2) },
    { name: "ksoftirqd", cores: 0.012, period: 23, stacks: idle("run_ksoftirqd") },
    { name: "<b>hostile</b>\"'&", cores: 0.02, period: 41, stacks: hostile() },
  ];
}

/** Random but always the same trees of about `nodes` frames, for the speed of drawing. */
export function bigService(nodes) {
  let seed = 42;
  const random = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32);
  const stacks = [];
  let count = 0;
  while (count < nodes) {
    const base = stacks.length > 0 && random() < 0.85 ? stacks[Math.floor(random() * stacks.length)][0] : [c("main", "/srv/big")];
    const stack = base.slice(0, 1 + Math.floor(random() * base.length));
    for (let more = 1 + Math.floor(random() * 9); more > 0; more--, count++) stack.push(c(`big::layer${stack.length}::work_${Math.floor(random() * 4000)}`, "/srv/big"));
    stacks.push([stack, 1 + Math.floor(random() ** 4 * 300)]);
  }
  return { name: "big", cores: 0.66, period: 131, stacks };
}
