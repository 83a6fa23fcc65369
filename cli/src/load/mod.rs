//! A command's file, environment and flags in; its checked settings out, or what is wrong and in which line, variable or flag.

mod lines;
mod tree;
mod environment;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_yaml::Value;

pub(crate) use self::environment::Variable;
pub(crate) use self::tree::knows;

/// Longest file that is read; the longest that makes sense has some ten kilobytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Settings that can be loaded.
pub(crate) trait Settings: DeserializeOwned {
    /// The first setting that cannot be, as `key: what is wrong`.
    fn validate(&self) -> Result<(), String>;
}

/// A setting that a flag gives.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// As the user wrote it.
    pub(crate) name: &'static str,
    /// Dotted key of the setting.
    pub(crate) key: &'static str,
    /// What it is set to.
    pub(crate) value: Value,
}

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its name in messages.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

/// Everything that settings come from; later fields win.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file, if there is one.
    pub(crate) file: Option<File>,
    /// All variables that are ours.
    pub(crate) environment: Vec<Variable>,
    /// All flags that were given.
    pub(crate) flags: Vec<Flag>,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loaded<C> {
    /// The checked settings.
    pub(crate) config: C,
    /// What was set, by whatever source: loading it again gives the same settings.
    pub(crate) tree: Value,
}

/// Why settings cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    origin: String,
    message: String,
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for Error {}

/// Reads `chosen`, which must exist, or else `usual`, if it exists.
pub(crate) fn read_file(chosen: Option<&Path>, usual: &Path) -> Result<Option<File>, Error> {
    let path = chosen.unwrap_or(usual);
    let fail = |message: String| Error {
        origin: String::new(),
        message: format!("cannot read {}: {message}", path.display()),
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && chosen.is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(fail(error.to_string())),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(fail(format!(
                "{} bytes are too many for a configuration file",
                metadata.len()
            )));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    Ok(Some(File { path: path.to_owned(), text }))
}

/// Merges the sources and checks the result. Keys of which `is_foreign` says that they belong to the other half of the program
/// are left out.
pub(crate) fn load<C: Settings>(
    sources: &Sources,
    is_foreign: fn(&[String]) -> bool,
) -> Result<Loaded<C>, Error> {
    let mut loading = Loading { sources, tree: tree::empty(), setters: Vec::new() };
    loading.add_file::<C>(is_foreign)?;
    loading.add_environment::<C>(is_foreign)?;
    loading.add_flags::<C>()?;
    let config: C = tree::parse(&loading.tree)
        .map_err(|wrong| loading.blame(&wrong.path, &wrong.to_string()))?;
    if let Err(message) = config.validate() {
        let key = message.split(':').next().unwrap_or_default();
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        return Err(loading.blame(&path, &message));
    }
    Ok(Loaded { config, tree: loading.tree })
}

struct Loading<'a> {
    sources: &'a Sources,
    tree: Value,
    /// Which variable or flag set what, in order.
    setters: Vec<(Vec<String>, String)>,
}

impl Loading<'_> {
    fn add_file<C: Settings>(&mut self, is_foreign: fn(&[String]) -> bool) -> Result<(), Error> {
        let Some(file) = &self.sources.file else { return Ok(()) };
        let mut found = lines::parse(file)?;
        for key in tree::keys(&found) {
            let path = [key];
            if !knows::<C>(&path) && is_foreign(&path) {
                tree::remove(&mut found, &path[0]);
            }
        }
        tree::parse::<C>(&found)
            .map_err(|wrong| lines::error(file, &wrong.path, &wrong.to_string()))?;
        self.tree = found;
        Ok(())
    }

    fn add_environment<C: Settings>(
        &mut self,
        is_foreign: fn(&[String]) -> bool,
    ) -> Result<(), Error> {
        for variable in &self.sources.environment {
            let name = &variable.name;
            if knows::<C>(&variable.path) {
                let typed = variable.typed::<C>();
                let value = typed
                    .map_err(|wrong| Error { origin: name.clone(), message: wrong.to_string() })?;
                self.set(&variable.path, value, name);
            } else if !is_foreign(&variable.path) {
                let message = "no setting has this name: config/agent.yaml and config/server.yaml list them all, \
                               and server.url is PILOTLIGHT_SERVER__URL";
                return Err(Error { origin: name.clone(), message: message.to_owned() });
            }
        }
        Ok(())
    }

    fn add_flags<C: Settings>(&mut self) -> Result<(), Error> {
        for flag in &self.sources.flags {
            let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
            tree::parse::<C>(&tree::single(&path, flag.value.clone())).map_err(|wrong| Error {
                origin: flag.name.to_owned(),
                message: wrong.to_string(),
            })?;
            self.set(&path, flag.value.clone(), flag.name);
        }
        Ok(())
    }

    fn set(&mut self, path: &[String], value: Value, setter: &str) {
        tree::set(&mut self.tree, path, value);
        self.setters.push((path.to_vec(), setter.to_owned()));
    }

    /// The error `message` about the setting at `path`, with the place where it, or else what it is part of, was set last.
    fn blame(&self, path: &[String], message: &str) -> Error {
        for part in (1..=path.len()).rev().map(|n_keys| &path[..n_keys]) {
            let setters = self.setters.iter().rev();
            let mut related =
                setters.filter(|(set, _)| set.starts_with(part) || part.starts_with(set));
            if let Some((_, setter)) = related.next() {
                return Error { origin: setter.clone(), message: message.to_owned() };
            }
            if let Some(file) = &self.sources.file
                && lines::find(&file.text, part).is_some()
            {
                return lines::error(file, part, message);
            }
        }
        Error { origin: String::new(), message: message.to_owned() }
    }
}
