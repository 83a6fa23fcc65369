//! The static binary and one Debian kernel after another → does it load, verify, attach and name what a process does?

mod kernels;
mod initramfs;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{command, output, workspace};
use crate::install;
use crate::progress::{say, step};
use crate::release;
use crate::run;
use crate::versions;

/// Samples that two busy CPUs give in the five seconds of `INIT`.
const EXPECTED: f64 = 2.0 * 5.0 * 97.0;
/// Words of a kernel in trouble.
const TROUBLE: &[&str] =
    &["Kernel panic", "Oops", "BUG:", "soft lockup", "rcu: INFO", "Call Trace"];

/// The first process of the guest. Lines are short and marked: the serial port loses characters now and then.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev 2>/dev/null; mount -t tmpfs none /tmp
echo; echo "KM kernel $(uname -r)"
/bin/workload-vm 60 >/dev/null &
/bin/workload-vm 60 >/dev/null &
/bin/pilotlight record -a -d 5 -o /tmp/x.folded >/tmp/log 2>&1
echo "KM exit $?"
head -n 60 /tmp/log | while read -r line; do echo "LOG $line"; done
awk '/^workload-vm/ {all += $NF} /^workload-vm;.*main;outer;inner;/ {named += $NF}
    END {print "KM all " all + 0; print "KM named " named + 0}' /tmp/x.folded
echo "KM end"
poweroff -f
"#;

/// Boots every kernel whose name contains `only`; all must pass.
pub(crate) fn test(only: Option<&str>) -> Result<()> {
    install::apt(versions::APT_VM)?;
    run::setup()?;
    let binary = release::build()?;
    let folder = workspace().join("target/vm");
    std::fs::create_dir_all(&folder)?;
    let workload = build_workload(&folder)?;
    let archive = folder.join("initramfs.cpio");
    let files = [
        ("bin/busybox", Path::new("/bin/busybox")),
        ("bin/pilotlight", &binary),
        ("bin/workload-vm", &workload),
    ];
    initramfs::write(&archive, INIT, &files)?;
    let mut n_failed = 0;
    let wanted = versions::VM_KERNELS
        .iter()
        .filter(|kernel| only.is_none_or(|only| kernel.series.contains(only)));
    for kernel in wanted {
        let image = kernels::fetch(kernel, &folder)?;
        let outcome =
            step(&format!("Linux {} in QEMU", kernel.series), || judge(&boot(&image, &archive)?));
        if let Err(error) = outcome {
            say(&format!("RESULT FAIL {}: {error:#}", kernel.series));
            n_failed += 1;
        } else {
            say(&format!("RESULT PASS {}", kernel.series));
        }
    }
    ensure!(n_failed == 0, "{n_failed} kernels failed");
    Ok(())
}

/// The same source as the end-to-end tests', static: the guest has no C library.
fn build_workload(folder: &Path) -> Result<std::path::PathBuf> {
    let program = folder.join("workload-vm");
    let source = workspace().join("tests/workloads/c/split.c");
    let mut gcc = command("gcc");
    gcc.args([
        "-O2",
        "-g",
        "-static",
        "-fno-omit-frame-pointer",
        "-fno-optimize-sibling-calls",
        "-o",
    ])
    .arg(&program)
    .arg(source);
    output(&mut gcc).map(|_| program)
}

fn boot(image: &Path, archive: &Path) -> Result<String> {
    let mut qemu = command("timeout");
    // Without cmpxchg16b: QEMU's translation of it breaks some 6.12 kernels.
    qemu.args([
        "180",
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-cpu",
        "max,-cx16",
        "-m",
        "768M",
        "-smp",
        "2",
        "-no-reboot",
        "-nographic",
    ]);
    qemu.args([
        "-nodefaults",
        "-serial",
        "stdio",
        "-monitor",
        "none",
        "-append",
        "console=ttyS0 panic=-1 rdinit=/init quiet",
    ]);
    let done = qemu
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("cannot start QEMU")?;
    let log = String::from_utf8_lossy(&done.stdout).into_owned();
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::write(workspace().join(format!("target/vm/{name}.log")), &log)?;
    Ok(log)
}

/// By the serial log alone: QEMU exits with 0 after a panic as well.
fn judge(log: &str) -> Result<()> {
    let said = |name: &str| {
        let mark = format!("KM {name} ");
        log.lines()
            .find_map(|line| line.split_once(&mark).map(|(_, value)| value.trim().to_owned()))
    };
    let shown =
        || log.lines().filter(|line| line.contains("LOG ")).take(40).collect::<Vec<_>>().join("\n");
    for word in TROUBLE {
        ensure!(!log.contains(word), "the guest says `{word}`");
    }
    if !log.contains("KM end") {
        bail!("the guest did not come to its end; target/vm has its log");
    }
    ensure!(
        said("exit").as_deref() == Some("0"),
        "record ended with {:?}:\n{}",
        said("exit"),
        shown()
    );
    let number = |name: &str| said(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    let (all, named) = (number("all"), number("named"));
    // A guest that is translated is late now and then, but its clock ticks on.
    ensure!(
        (EXPECTED * 0.5..EXPECTED * 1.2).contains(&all),
        "{all} samples, about {EXPECTED} expected:\n{}",
        shown()
    );
    ensure!(named >= 0.95 * all, "{named} of {all} samples have all their callers:\n{}", shown());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_log_is_judged_by_its_marks() {
        let good = "x\x1b[0mKM kernel 5.10\nKM exit 0\nKM all 960\nKM named 958\nKM end\n";
        assert!(judge(good).is_ok());
        for (from, to) in [
            ("exit 0", "exit 1"),
            ("all 960", "all 96"),
            ("named 958", "named 9"),
            ("KM end", "BUG: x"),
        ] {
            assert!(judge(&good.replace(from, to)).is_err(), "{to}");
        }
    }
}
