//! agent-ebpf's sources → the BPF object that `agent` embeds, its lock file, and the proof that the two belong together.
//!
//! The object is committed (docs/decisions/0001), so most machines never build it. See `Stand` for when it is built.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, output, path_with, sha256, workspace};
use crate::progress::{say, step};
use crate::toolchain::{TARGET, Toolchain};
use crate::versions;

const OBJECT: &str = "agent-ebpf/object/pilotlight.bpf.o";
const LOCK: &str = "agent-ebpf/object/pilotlight.bpf.lock";
/// Folders whose files decide what the object is.
const SOURCES: &[&str] =
    &["agent-ebpf/Cargo.toml", "agent-ebpf/src", "agent-common/Cargo.toml", "agent-common/src"];

/// What was built from what, with what.
#[derive(Debug, PartialEq, Eq)]
struct Lock {
    rustc: String,
    bpf_linker: String,
    object_sha256: String,
    sources_sha256: String,
}

impl Lock {
    fn read() -> Result<Self> {
        let text = std::fs::read_to_string(workspace().join(LOCK))
            .with_context(|| format!("cannot read {LOCK}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
            line.map(|(_, value)| value.to_owned())
                .with_context(|| format!("{LOCK} has no line `{name} = …`"))
        };
        Ok(Self {
            rustc: field("rustc")?,
            bpf_linker: field("bpf-linker")?,
            object_sha256: field("object-sha256")?,
            sources_sha256: field("sources-sha256")?,
        })
    }

    fn to_text(&self) -> String {
        format!(
            "# Written by `cargo xtask ebpf --bless`: what the object beside was built from, and with.\n\
             rustc = {}\nbpf-linker = {}\nobject-sha256 = {}\nsources-sha256 = {}\n",
            self.rustc, self.bpf_linker, self.object_sha256, self.sources_sha256
        )
    }
}

/// Builds the object into `target/ebpf` and gives its path. The same sources and compiler give the same code anywhere.
pub(crate) fn build() -> Result<PathBuf> {
    let toolchain = Toolchain::required()?;
    step("build the kernel programs", || compile(&toolchain))
}

/// Builds and makes the result the committed object.
pub(crate) fn bless() -> Result<()> {
    let toolchain = Toolchain::required()?;
    let built = step("build the kernel programs", || compile(&toolchain))?;
    let object = workspace().join(OBJECT);
    std::fs::create_dir_all(object.parent().expect("OBJECT has a folder"))?;
    std::fs::copy(&built, &object).with_context(|| format!("cannot write {OBJECT}"))?;
    let lock = Lock {
        rustc: toolchain.rustc_version()?,
        bpf_linker: versions::BPF_LINKER.to_owned(),
        object_sha256: sha256(&object)?,
        sources_sha256: sources_sha256()?,
    };
    std::fs::write(workspace().join(LOCK), lock.to_text())
        .with_context(|| format!("cannot write {LOCK}"))?;
    say(&format!("  {OBJECT}: {} bytes, sha256 {}", object.metadata()?.len(), lock.object_sha256));
    Ok(())
}

/// Proves that the committed object is what its sources give. Without a build: that nothing changed since the lock was
/// written. With one: what runs, byte for byte, where this machine has, or can install, the compiler of the lock.
pub(crate) fn check() -> Result<()> {
    let lock = Lock::read()?;
    check_hashes(&lock)?;
    let toolchain = Toolchain::required()?;
    let here = toolchain.rustc_version()?;
    if here != lock.rustc {
        // Other compilers give other bytes. Only the recorded one can prove anything.
        say(&format!(
            "! {OBJECT} was built by `{}`; this machine can have `{here}` only: built, bytes not compared",
            lock.rustc
        ));
        return build().map(drop);
    }
    let built = step("build the kernel programs", || compile(&toolchain))?;
    step("compare with the committed object", || {
        let committed = std::fs::read(workspace().join(OBJECT))?;
        if what_runs(&std::fs::read(&built)?)? != what_runs(&committed)? {
            bail!("{OBJECT} is not what its sources give; run: cargo xtask ebpf --bless");
        }
        Ok(())
    })
}

/// Makes the committed object usable: nothing to do while the sources are those it was built from, else it is built anew.
pub(crate) fn ensure() -> Result<()> {
    let stale = match Lock::read() {
        Ok(lock) => check_hashes(&lock).is_err(),
        Err(_) => true,
    };
    if !stale {
        return Ok(());
    }
    say("  agent-ebpf has changed since its object was built");
    bless()
}

fn check_hashes(lock: &Lock) -> Result<()> {
    let object = sha256(&workspace().join(OBJECT))?;
    if object != lock.object_sha256 {
        bail!("{OBJECT} is not the one that {LOCK} names; run: cargo xtask ebpf --bless");
    }
    if sources_sha256()? != lock.sources_sha256 {
        bail!("the sources of {OBJECT} have changed; run: cargo xtask ebpf --bless");
    }
    Ok(())
}

fn compile(toolchain: &Toolchain) -> Result<PathBuf> {
    let target = workspace().join("target/ebpf");
    let linker_folder = toolchain.linker.parent().context("bpf-linker has no folder")?;
    let mut cargo = toolchain.cargo();
    cargo
        .args([
            "--locked",
            "--release",
            "--package",
            "agent-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target)
        .env("PATH", path_with(linker_folder))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&target).join("\x1f"));
    output(&mut cargo)?;
    let linked = std::fs::read(target.join(TARGET).join("release/agent-ebpf"))?;
    let object = target.join("pilotlight.bpf.o");
    std::fs::write(&object, without_dwarf(&linked)?).context("cannot write to target/ebpf")?;
    Ok(object)
}

/// All that the kernel is given to run: code, constants, maps, relocations and symbols, byte for byte. The order of the types in
/// BTF, which only names things, is not the same in every folder that the same compiler builds in.
fn what_runs(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(elf).context("no ELF object")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".BTF") || name.starts_with(".rel.BTF");
    }
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes).context("cannot write the object without its types")?;
    Ok(bytes)
}

/// DWARF was needed to make BTF from it; nobody reads it later. BTF and BTF.ext stay.
fn without_dwarf(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder =
        object::build::elf::Builder::read(elf).context("the linker's output is no ELF object")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug") || name.starts_with(".rel.debug");
    }
    builder.delete_orphans();
    // The linker keeps both kinds of names in one table; the writer wants one for the sections' own.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = object::build::elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("cannot write the stripped object")?;
    Ok(stripped)
}

fn rustflags(target: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home =
        std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    // BTF lines, panic locations and symbol hashes must not tell where the checkout is. The last match wins.
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        remap(&cargo_home, "/cargo"),
        remap(&workspace(), "/pilotlight"),
        remap(target, "/target"),
    ];
    // The folder of a registry is named after a hash of its address, which differs behind a mirror.
    let registries =
        std::fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten();
    flags.extend(registries.map(|registry| remap(&registry.path(), "/cargo/src")));
    flags
}

/// One hash over the sources and the exact versions of the crates that they use.
fn sources_sha256() -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        list(&workspace().join(source), &mut files)?;
    }
    files.sort();
    let mut text = output(cargo().args([
        "tree",
        "--locked",
        "--package",
        "agent-ebpf",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--target",
        TARGET,
        "--format",
        "{p} {f}",
    ]))?
    .replace(&workspace().display().to_string(), "");
    for file in files {
        let name = file.strip_prefix(workspace()).unwrap_or(&file).display().to_string();
        writeln!(text, "{name} {}", sha256(&file)?)?;
    }
    let list = workspace().join("target/ebpf-sources.txt");
    std::fs::create_dir_all(workspace().join("target"))?;
    std::fs::write(&list, text).context("cannot write to target/")?;
    sha256(&list)
}

fn list(path: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            list(&entry?.path(), into)?;
        }
    } else {
        into.push(path.to_path_buf());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_survives_its_own_text() {
        let lock = Lock {
            rustc: "rustc 1.96.0 (ac68faa20 2026-05-25)".into(),
            bpf_linker: "0.10.3".into(),
            object_sha256: "aa".into(),
            sources_sha256: "bb".into(),
        };
        assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
    }

    #[test]
    fn code_is_compared_and_the_order_of_types_is_not() {
        let object = std::fs::read(workspace().join(OBJECT)).unwrap();
        let place = |name: &str| {
            let file = object::build::elf::Builder::read(object.as_slice()).unwrap();
            let section = file.sections.iter().find(|section| section.name.to_string() == name);
            let object::build::elf::SectionData::Data(data) = &section.unwrap().data else {
                panic!("{name} has no data");
            };
            object.windows(data.len()).position(|window| window == &data[..]).unwrap()
        };
        let flipped_in = |name: &str| {
            let mut changed = object.clone();
            changed[place(name) + 200] ^= 1;
            what_runs(&changed).unwrap() != what_runs(&object).unwrap()
        };
        assert!(flipped_in("perf_event"));
        assert!(flipped_in(".text"));
        assert!(!flipped_in(".BTF"));
    }

    #[test]
    fn a_lock_without_a_field_names_the_field() {
        let error = Lock::parse("rustc = x\n").unwrap_err().to_string();
        assert!(error.contains("bpf-linker"), "{error}");
    }
}
