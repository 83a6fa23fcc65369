//! Every version that this project chooses outside `Cargo.lock`, `package-lock.json` and `go.sum`.

/// Links the kernel programs; newer ones need LLVM development packages.
pub(crate) const BPF_LINKER: &str = "0.10.3";
/// What `rustup` is asked for where Debian's prebuilt `core` for BPF cannot be had.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-25";
/// The Go toolchain, taken from the Go module proxy where there is none or an older one.
pub(crate) const GO: &str = "1.26.8";
/// sha256 of the proxy's archive of that toolchain.
pub(crate) const GO_SHA256: &str =
    "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7";
/// The oldest Node that builds and tests the page.
pub(crate) const NODE_MAJOR: u32 = 18;
/// The Python SDK that pushes to our server in a test.
pub(crate) const PYROSCOPE_IO: &str = "1.4.0";
pub(crate) const DUCKDB: &str = "2.0.1";

/// Debian packages that carry rustc with a prebuilt `core` for BPF.
pub(crate) const APT_BPF: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];
/// Debian packages that only tests need.
pub(crate) const APT_TESTS: &[&str] = &[
    "bpftool",
    "chromium",
    "curl",
    "default-jdk-headless",
    "dwz",
    "g++",
    "libc6-dbg",
    "libc6-dev",
    "linux-perf",
    "lld",
    "mold",
    "musl-tools",
    "python3-venv",
    "unzip",
    "util-linux",
    "xz-utils",
];
/// Debian packages that boot other kernels.
pub(crate) const APT_VM: &[&str] =
    &["busybox-static", "debian-archive-keyring", "qemu-system-x86", "seabios"];

/// A series of Debian's kernels, and where it is found.
pub(crate) struct Kernel {
    pub(crate) series: &'static str,
    /// Suite of the archive, and whether it is in the security archive.
    pub(crate) suite: &'static str,
    pub(crate) is_security: bool,
}

/// The oldest supported kernel and Debian 12's; the newest package of each series is taken.
pub(crate) const VM_KERNELS: &[Kernel] = &[
    Kernel { series: "5.10", suite: "bullseye", is_security: false },
    Kernel { series: "6.1", suite: "bookworm-security", is_security: true },
];
