//! Lengths of time and sizes as people write them in settings and flags (`500ms`, `31d`, `512MiB`) -> values.

mod bytes;
mod span;

pub use self::bytes::Bytes;
pub use self::span::Span;

/// A whole number and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(n_digits);
    Some((number.parse().ok()?, unit))
}

/// A number of units, and what is one in the table.
fn multiply(number: u64, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*size)
}

/// The text in the largest unit that needs no fraction. `units` rise.
fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, size): &&(&str, u64)| value.is_multiple_of(*size);
    match units.iter().rev().find(fits) {
        Some((name, size)) => format!("{}{name}", value / size),
        None => value.to_string(),
    }
}
