//! The `name` of `/ingest`: `app{k=v,k2=v2}` -> the app and its labels.

use crate::ingest::labels;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("name '{0}' is not of the form app{{key=value,...}}")]
    Form(String),
    #[error("app name '{0}' has characters other than letters, digits, _ . - and /")]
    App(String),
    #[error("label name '{0}' has characters other than letters, digits, _ and .")]
    LabelName(String),
    #[error("label __name__ is reserved")]
    Reserved,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub app: String,
    pub labels: Vec<(String, String)>,
}

pub(super) fn parse(text: &str) -> Result<Name, Error> {
    let form = || Error::Form(text.to_owned());
    let (app, pairs) = match text.split_once('{') {
        None => (text, ""),
        Some((app, rest)) => (app, rest.trim_end().strip_suffix('}').ok_or_else(form)?),
    };
    let app = app.trim();
    if app.is_empty() {
        return Err(form());
    }
    if !app.chars().all(|char| char.is_ascii_alphanumeric() || "_.-/".contains(char)) {
        return Err(Error::App(app.to_owned()));
    }
    let mut found = Vec::new();
    for pair in pairs.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(form)?;
        let name = name.trim();
        if name == labels::NAME {
            return Err(Error::Reserved);
        }
        if name.is_empty()
            || !name.chars().all(|char| char.is_ascii_alphanumeric() || "_.".contains(char))
        {
            return Err(Error::LabelName(name.to_owned()));
        }
        if !name.starts_with("__") || name == labels::SESSION {
            found.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    Ok(Name { app: app.to_owned(), labels: found })
}
