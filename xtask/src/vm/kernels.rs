//! A series of Debian's kernels → the image of its newest package, from Debian's mirror, kept in target/vm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{command, output};
use crate::progress::step;
use crate::versions::Kernel;

/// Downloads it once.
pub(super) fn fetch(kernel: &Kernel, folder: &Path) -> Result<PathBuf> {
    let image = folder.join(format!("vmlinuz-{}", kernel.series));
    if image.exists() {
        return Ok(image);
    }
    step(&format!("fetch Linux {} from Debian {}", kernel.series, kernel.suite), || {
        let apt = PrivateApt::new(kernel, folder)?;
        apt.get(&["update"])?;
        let package = apt.newest(kernel.series)?;
        apt.get(&["download", &package])?;
        unpack(&apt.folder, &image).with_context(|| format!("no kernel in {package}"))
    })?;
    Ok(image)
}

/// An apt with lists and sources of its own: the machine's stay as they are.
struct PrivateApt {
    folder: PathBuf,
    options: Vec<String>,
}

impl PrivateApt {
    fn new(kernel: &Kernel, folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("apt-{}", kernel.series));
        for part in ["lists/partial", "cache/archives/partial", "etc"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        let archive = if kernel.is_security {
            "http://deb.debian.org/debian-security"
        } else {
            "http://deb.debian.org/debian"
        };
        let mirror = mirror(archive)?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        std::fs::write(
            folder.join("sources.list"),
            format!("deb [signed-by={keys}] {mirror} {} main\n", kernel.suite),
        )?;
        let path = |part: &str| folder.join(part).display().to_string();
        let options = vec![
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Old suites stand still: their lists are past their date, their signatures are not.
            "Acquire::Check-Valid-Until=false".to_owned(),
            // Otherwise apt wants to drop root for a folder that its own user cannot read.
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { folder, options })
    }

    fn get(&self, arguments: &[&str]) -> Result<String> {
        self.run("apt-get", arguments)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut apt = command(program);
        apt.current_dir(&self.folder);
        for option in &self.options {
            apt.args(["-o", option]);
        }
        output(apt.args(arguments))
    }

    /// The newest package of a series, by Debian's own order of versions.
    fn newest(&self, series: &str) -> Result<String> {
        let pattern =
            format!("^linux-image-{}\\.[.0-9+deb-]*-cloud-amd64$", series.replace('.', "\\."));
        let found = self.run("apt-cache", &["search", "--names-only", &pattern])?;
        let mut names: Vec<&str> =
            found.lines().filter_map(|line| line.split(' ').next()).collect();
        names.sort_by_key(|name| numbers(name));
        match names.last() {
            Some(name) => Ok((*name).to_owned()),
            None => bail!("the archive has no kernel {series}"),
        }
    }
}

/// The machine's own mirror of that archive, if its apt is set up for one.
fn mirror(archive: &str) -> Result<String> {
    let all = output(command("apt-get").args(["indextargets", "--format", "$(SITE)"]))?;
    let is_security = archive.ends_with("security");
    let found = all
        .lines()
        .find(|site| site.contains("debian") && site.contains("security") == is_security);
    Ok(found.map_or(archive, |site| site.trim_end_matches('/')).to_owned())
}

fn unpack(folder: &Path, image: &Path) -> Result<()> {
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let package = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(is_package)
        .context("nothing was downloaded")?;
    let root = folder.join("root");
    output(command("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
    let boot = std::fs::read_dir(root.join("boot"))?.flatten().map(|entry| entry.path());
    let kernel = boot
        .into_iter()
        .find(|path| path.to_string_lossy().contains("vmlinuz-"))
        .context("no vmlinuz")?;
    std::fs::copy(kernel, image)?;
    std::fs::remove_dir_all(folder).context("cannot clean up")
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}
