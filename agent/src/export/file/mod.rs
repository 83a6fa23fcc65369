//! The labeled stacks of one recording in; a file out, in the format that its name's ending chooses.

mod folded;
mod flame_graph;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use rustix::fs::{Access, access};

use crate::label::LabeledStack;
use crate::profile::{Window, build_merged};

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ending says no format.
    #[error(
        "cannot tell the format of {path}: give it the ending .pb.gz (pprof), .folded (folded stacks) or .svg (flame graph)"
    )]
    UnknownEnding { path: PathBuf },
    /// There is a directory of that name.
    #[error("cannot write {path}: it is a directory; name a file in it")]
    IsDirectory { path: PathBuf },
    /// The directory is not there.
    #[error("cannot write {path}: the directory {directory} does not exist; create it first")]
    NoDirectory { path: PathBuf, directory: PathBuf },
    /// The system says no.
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// What a recording is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// `.pb.gz`: pprof with the sample types samples/count and cpu/nanoseconds.
    Pprof,
    /// `.folded`: one line a stack.
    Folded,
    /// `.svg`: an interactive flame graph.
    FlameGraph,
}

impl FileFormat {
    /// The format by the ending of the file's name.
    pub fn from_path(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let endings =
            [(".pb.gz", Self::Pprof), (".folded", Self::Folded), (".svg", Self::FlameGraph)];
        let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
        found
            .map(|(_, format)| *format)
            .ok_or_else(|| Error::UnknownEnding { path: path.to_owned() })
    }
}

/// A file that a recording will be written to.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    format: FileFormat,
}

impl Target {
    /// Checks before anything is sampled that `path` has a known ending and can be written.
    pub fn check(path: &Path) -> Result<Self, Error> {
        let format = FileFormat::from_path(path)?;
        let directory = directory_of(path);
        if !directory.is_dir() {
            return Err(Error::NoDirectory {
                path: path.to_owned(),
                directory: directory.to_owned(),
            });
        }
        if path.is_dir() {
            return Err(Error::IsDirectory { path: path.to_owned() });
        }
        let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
        if path.exists() {
            access(path, Access::WRITE_OK).map_err(|errno| failed(errno.into()))?;
        }
        // Only making a file shows whether one can be made: root passes every check of permissions.
        let temporary = temporary_of(path);
        write_new(&temporary, b"")
            .and_then(|()| fs::remove_file(&temporary))
            .map_err(|source| Error::Io { path: temporary, source })?;
        Ok(Self { path: path.to_owned(), format })
    }

    /// Writes the recording. The file appears whole or not at all.
    pub fn write(&self, window: Window, stacks: &[LabeledStack]) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        let bytes = render(self.format, window, stacks).map_err(failed)?;
        replace_file(&self.path, &bytes).map_err(failed)
    }
}

fn render(format: FileFormat, window: Window, stacks: &[LabeledStack]) -> io::Result<Vec<u8>> {
    match format {
        FileFormat::Pprof => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&build_merged(window, stacks).encode_to_vec())?;
            encoder.finish()
        }
        FileFormat::Folded => Ok(folded::lines(stacks).concat().into_bytes()),
        FileFormat::FlameGraph => flame_graph::svg(&folded::lines(stacks)),
    }
}

/// The directory that `path` is in, as it is named there.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Beside the file, so that renaming replaces it in one step.
fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory_of(path).join(format!(".{name}.{}.tmp", std::process::id()))
}

fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_of(path);
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a file that was never made cannot be removed.
        drop(fs::remove_file(&temporary));
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // `create_new` does not follow a link that somebody may have put there (in /tmp).
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
