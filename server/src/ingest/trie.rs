//! The two binary trees of older clients: a trie of stacks' texts, and a tree of frames. Both are preorders of name, value and
//! number of children.

use crate::ingest::builder::{Builder, TooMany};
use crate::ingest::varint::Reader;
use std::cell::RefCell;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the {0} ends in the middle of a node")]
    Truncated(&'static str),
    #[error("the {0} has a name that is not UTF-8")]
    NotText(&'static str),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Bytes or frames of all stacks as they are spelled out.
const MAX_WORK: usize = 256 << 20;

/// A node that still has children to come, and what its name added.
struct Open {
    n_left: u64,
    len_before: usize,
}

struct Node<'a> {
    name: &'a [u8],
    value: i64,
    n_children: u64,
}

fn node<'a>(reader: &mut Reader<'a>) -> Option<Node<'a>> {
    let name = reader.bytes()?;
    let value = i64::try_from(reader.u64()?).unwrap_or(i64::MAX);
    Some(Node { name, value, n_children: reader.u64()? })
}

/// Names are pieces of text that make up `a;b;c` from the root on.
pub(super) fn trie(body: &[u8], scale: i64, builder: &mut Builder) -> Result<(), Error> {
    let mut text: Vec<u8> = Vec::new();
    walk(
        body,
        "trie",
        &mut text,
        |text, name| {
            text.extend_from_slice(name);
            Ok(())
        },
        |text, value| {
            let stack = std::str::from_utf8(text).ok().ok_or(Error::NotText("trie"))?;
            let mut frames = Vec::new();
            let names = stack.split(';').rev().filter(|name| !name.is_empty());
            for name in names.take(builder.depth()) {
                frames.push(builder.location(name, "", 0)?);
            }
            Ok(builder.sample(frames.into_iter(), vec![value.saturating_mul(scale)], &[])?)
        },
    )
}

/// Names are frames.
pub(super) fn tree(body: &[u8], scale: i64, builder: &mut Builder) -> Result<(), Error> {
    let builder = RefCell::new(builder);
    let mut frames: Vec<u64> = Vec::new();
    walk(
        body,
        "tree",
        &mut frames,
        |frames, name| {
            if !name.is_empty() {
                let name = std::str::from_utf8(name).ok().ok_or(Error::NotText("tree"))?;
                frames.push(builder.borrow_mut().location(name, "", 0)?);
            }
            Ok(())
        },
        |frames, value| {
            let leaf_first = frames.iter().rev().copied();
            let values = vec![value.saturating_mul(scale)];
            Ok(builder.borrow_mut().sample(leaf_first, values, &[])?)
        },
    )
}

/// `path` is what was gathered on the way from the root to a node.
fn walk<'a, T>(
    body: &'a [u8],
    what: &'static str,
    path: &mut Vec<T>,
    mut enter: impl FnMut(&mut Vec<T>, &'a [u8]) -> Result<(), Error>,
    mut emit: impl FnMut(&[T], i64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = Reader::new(body);
    // Each open node took three bytes at least, so the list is bounded by the body.
    let mut open: Vec<Open> = Vec::new();
    let mut work: usize = 0;
    while !reader.is_empty() {
        let node = node(&mut reader).ok_or(Error::Truncated(what))?;
        let len_before = path.len();
        enter(path, node.name)?;
        if node.value > 0 {
            // A long path under many leaves is short on the wire and long to spell.
            work = work.saturating_add(path.len());
            if work > MAX_WORK {
                return Err(TooMany { what: "bytes in its stacks", limit: MAX_WORK }.into());
            }
            emit(path, node.value)?;
        }
        open.push(Open { n_left: node.n_children, len_before });
        while open.last().is_some_and(|last| last.n_left == 0) {
            if let Some(done) = open.pop() {
                path.truncate(done.len_before);
            }
        }
        match open.last_mut() {
            Some(last) => last.n_left = last.n_left.saturating_sub(1),
            None => return Ok(()),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(Error::Truncated(what)) }
}
