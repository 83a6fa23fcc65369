//! An open file in; its unwind table, in the packets that it leaves in, out.

use std::fs::File;

use crate::symbolize::wire::{Answer, MAX_PACKET};
use crate::unwind::{NoTable, build};

use super::mapped::Mapped;

/// Bytes of a table in one packet.
const PART_LEN: usize = MAX_PACKET / 2;

/// The answer to a request for the table of a file.
pub(super) fn answers(file: &File) -> Vec<Answer> {
    let encoded = Mapped::new(file).map_err(|_unreadable| NoTable::Unreadable).and_then(|mapped| {
        let (table, counts) = build(mapped.bytes(), None)?;
        tracing::trace!(?counts, n_rows = table.n_rows(), "built an unwind table");
        Ok(table.encode())
    });
    match encoded {
        Ok(bytes) => bytes.chunks(PART_LEN).map(|part| Answer::TablePart(part.to_vec())).collect(),
        Err(why) => vec![Answer::NoTable(why as u8)],
    }
}
