//! Folded stacks, `a;b;c 12` a line, root first -> samples.

use crate::ingest::builder::{Builder, TooMany};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// Each line ends with its count.
    Folded,
    /// Each line counts 1.
    Lines,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("folded stacks are not UTF-8")]
    NotText,
    #[error("line {0} of the folded stacks does not end with a count")]
    NoCount(usize),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Every value is multiplied by `scale`.
pub(super) fn read(
    body: &[u8],
    counting: Counting,
    scale: i64,
    builder: &mut Builder,
) -> Result<(), Error> {
    let Ok(text) = std::str::from_utf8(body) else { return Err(Error::NotText) };
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (stack, count) = match counting {
            Counting::Lines => (line, 1),
            Counting::Folded => line
                .rsplit_once(char::is_whitespace)
                .and_then(|(stack, count)| Some((stack.trim_end(), count.parse::<i64>().ok()?)))
                .ok_or(Error::NoCount(index.saturating_add(1)))?,
        };
        let mut leaf_first = Vec::new();
        let names = stack.split(';').rev().filter(|name| !name.is_empty());
        for name in names.take(builder.depth()) {
            leaf_first.push(builder.location(name, "", 0)?);
        }
        builder.sample(leaf_first.into_iter(), vec![count.saturating_mul(scale)], &[])?;
    }
    Ok(())
}
