//! A command's file, environment and flags in; its checked settings out, or what is wrong and in which line, variable or flag.

mod tree;
mod check;
mod lines;
mod environment;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use self::tree::{dotted, knows};

pub(crate) use self::environment::Variable;

/// Longest file that is read; the longest that makes sense has some ten kilobytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Settings that can be loaded.
pub(crate) trait Settings: DeserializeOwned {
    /// The half of the program that has them.
    const HALF: &'static str;
    /// Settings, and sections, that may hold what nobody else must see.
    const SECRETS: &'static [&'static [&'static str]];

    /// The first setting that cannot be.
    fn validate(&self) -> Result<(), Invalid>;
}

/// A setting that cannot be.
#[derive(Debug)]
pub(crate) struct Invalid {
    /// Which.
    pub(crate) path: Vec<String>,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl Invalid {
    /// About the setting at `key`, which has dots.
    pub(crate) fn new(key: &str, message: String) -> Self {
        Self { path: key.split('.').map(str::to_owned).collect(), message }
    }
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

/// What is wrong with a key of the file that `C` does not have; nothing where `O` judges it, or serde has the better words.
fn stranger<C: Settings, O: Settings>(path: &[String], is_shared: bool) -> Option<String> {
    let key = dotted(path);
    match (knows::<O>(path), is_shared) {
        (true, true) | (false, false) => None,
        (true, false) => {
            Some(format!("{key}: is a setting of the {}, not of the {}", O::HALF, C::HALF))
        }
        (false, true) => {
            Some(format!("{key}: neither the {} nor the {} has such a setting", C::HALF, O::HALF))
        }
    }
}

/// Secrets and what belongs to them are text, also where YAML takes what is written without quotes for a number.
fn unquoted<C: Settings>(file: &File, tree: &mut Value) {
    for secret in C::SECRETS {
        let secret: Vec<String> = secret.iter().map(|&key| key.to_owned()).collect();
        let Some(Value::Mapping(keys)) = tree::get(tree, &secret) else { continue };
        let is_scalar = |value: &Value| value.is_number() || value.is_bool();
        let keys = keys.iter().filter(|(_, value)| is_scalar(value)).map(|(key, _)| key.as_str());
        let keys: Vec<String> = keys.flatten().map(str::to_owned).collect();
        for key in keys {
            let path: Vec<String> = secret.iter().cloned().chain([key]).collect();
            if let Some(text) = lines::scalar(file, &path) {
                tree::set(tree, &path, text.into());
            }
        }
    }
}

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

/// Merges the sources and checks the result. Of `O`, the other half of the program, variables may be there, and keys of the file
/// when both halves have it: it is loaded for either.
pub(crate) fn load<C: Settings, O: Settings>(
    sources: &Sources,
    file_is_shared: bool,
) -> Result<Loaded<C>, Error> {
    let mut loading = Loading { sources, tree: tree::empty(), setters: Vec::new() };
    loading.add_file::<C, O>(file_is_shared)?;
    loading.add_environment::<C, O>()?;
    loading.add_flags::<C>()?;
    let config: C = tree::parse(&loading.tree)
        .map_err(|wrong| loading.blame(&wrong.path, &wrong.to_string()))?;
    if let Err(Invalid { path, message }) = config.validate() {
        return Err(loading.blame(&path, &format!("{}: {message}", dotted(&path))));
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
    fn add_file<C: Settings, O: Settings>(&mut self, is_shared: bool) -> Result<(), Error> {
        let Some(file) = &self.sources.file else { return Ok(()) };
        let mut found = lines::parse(file)?;
        for key in tree::keys(&found) {
            let path = [key];
            if knows::<C>(&path) {
                continue;
            }
            match stranger::<C, O>(&path, is_shared) {
                Some(message) => return Err(lines::error(file, &path, &message)),
                None if is_shared => tree::remove(&mut found, &path[0]),
                None => {}
            }
        }
        tree::fill_sections::<C>(&mut found);
        unquoted::<C>(file, &mut found);
        tree::parse::<C>(&found)
            .map_err(|wrong| lines::error(file, &wrong.path, &wrong.to_string()))?;
        self.tree = found;
        Ok(())
    }

    fn add_environment<C: Settings, O: Settings>(&mut self) -> Result<(), Error> {
        for variable in &self.sources.environment {
            let name = &variable.name;
            let fail = |message: String| Error { origin: name.clone(), message };
            if knows::<C>(&variable.path) {
                let value = variable.typed::<C>().map_err(|wrong| fail(wrong.to_string()))?;
                self.set(&variable.path, value, name);
            } else if knows::<O>(&variable.path) {
                variable
                    .typed::<O>()
                    .map_err(|wrong| fail(format!("{wrong} (a setting of the {})", O::HALF)))?;
            } else {
                let message = "no setting has this name: config/agent.yaml and config/server.yaml list them all, \
                               and server.url is PILOTLIGHT_SERVER__URL";
                return Err(fail(message.to_owned()));
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
