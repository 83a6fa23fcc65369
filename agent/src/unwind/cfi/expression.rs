//! A DWARF expression in; which of the few forms that compilers, linkers and libraries write it is out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use gimli::{Encoding, EndianSlice, Expression, LittleEndian, Operation, Register};

/// No known form has more operations.
const MAX_OPERATIONS: usize = 10;

/// What an expression computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A register + an offset.
    Register { register: u32, offset: i32 },
    /// What was on the stack before (the CFA, in rules for registers) + an offset.
    Initial { offset: i32 },
    /// What is stored at a register + an offset, + `add`.
    Deref { register: u32, offset: i32, add: i32 },
    /// The CFA in a procedure linkage table: rsp + 8, and 8 more from the instruction on that is `threshold` bytes inside
    /// its entry.
    Plt { threshold: u32 },
}

/// One of the operations that known forms have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Register(u16, i64),
    Constant(i64),
    Add(i64),
    Plus,
    Minus,
    And,
    Ge,
    Shl,
    Deref,
}

const RSP: u16 = gimli::X86_64::RSP.0;
const RIP: u16 = gimli::X86_64::RA.0;

/// Recognizes an expression.
pub(super) fn recognize(
    expression: Expression<EndianSlice<'_, LittleEndian>>,
    encoding: Encoding,
) -> Option<Form> {
    let mut ops = Vec::new();
    let mut operations = expression.operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        if ops.len() == MAX_OPERATIONS {
            return None;
        }
        ops.push(op(&operation)?);
    }
    match *ops {
        [
            Op::Register(RSP, 8),
            Op::Register(RIP, 0),
            Op::Constant(15),
            Op::And,
            Op::Constant(threshold @ 0..=15),
            Op::Ge,
            Op::Constant(3),
            Op::Shl,
            Op::Plus,
        ] => Some(Form::Plt { threshold: u32::try_from(threshold).ok()? }),
        _ => linear(&ops),
    }
}

fn op(operation: &Operation<EndianSlice<'_, LittleEndian>>) -> Option<Op> {
    Some(match *operation {
        Operation::RegisterOffset { register: Register(register), offset, base_type: _ } => {
            Op::Register(register, offset)
        }
        Operation::UnsignedConstant { value } => Op::Constant(i64::try_from(value).ok()?),
        Operation::SignedConstant { value } => Op::Constant(value),
        Operation::PlusConstant { value } => Op::Add(value.cast_signed()),
        Operation::Plus => Op::Plus,
        Operation::Minus => Op::Minus,
        Operation::And => Op::And,
        Operation::Ge => Op::Ge,
        Operation::Shl => Op::Shl,
        Operation::Deref { size: 8, space: false, base_type: _ } => Op::Deref,
        Operation::Nop => Op::Add(0),
        _ => return None,
    })
}

/// A base, what is added to it, perhaps one dereference, and what is added then.
fn linear(ops: &[Op]) -> Option<Form> {
    let (base, mut rest) = match ops {
        [Op::Register(register, offset), rest @ ..] if *register < 16 => {
            (Some((*register, *offset)), rest)
        }
        _ => (None, ops),
    };
    let mut offset = base.map_or(0, |(_, offset)| offset);
    let mut before_deref = None;
    loop {
        rest = match rest {
            [] => break,
            [Op::Deref, rest @ ..] if before_deref.is_none() => {
                before_deref = Some(offset);
                offset = 0;
                rest
            }
            [Op::Add(value), rest @ ..] | [Op::Constant(value), Op::Plus, rest @ ..] => {
                offset = offset.wrapping_add(*value);
                rest
            }
            [Op::Constant(value), Op::Minus, rest @ ..] => {
                offset = offset.wrapping_sub(*value);
                rest
            }
            _ => return None,
        };
    }
    let narrow = |offset: i64| i32::try_from(offset).ok();
    Some(match (base, before_deref) {
        (None, None) => Form::Initial { offset: narrow(offset)? },
        (None, Some(_)) => return None,
        (Some((register, _)), None) => {
            Form::Register { register: register.into(), offset: narrow(offset)? }
        }
        (Some((register, _)), Some(before)) => {
            Form::Deref { register: register.into(), offset: narrow(before)?, add: narrow(offset)? }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Form, recognize};
    use gimli::{Encoding, EndianSlice, Expression, Format, LittleEndian};

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<Form>) {
        let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 1 };
        let expression = Expression(EndianSlice::new(bytes, LittleEndian));
        assert_eq!(recognize(expression, encoding), expected, "{bytes:x?}");
    }

    #[test]
    fn forms() {
        const DEREF: u8 = 0x06;
        const PLUS: u8 = 0x22;
        const PLUS_UCONST: u8 = 0x23;
        const BREG6: u8 = 0x76;
        const BREG7: u8 = 0x77;
        const BREG10: u8 = 0x7a;
        // What GNU ld writes for lazy and for `-z ibtplt` entries.
        let plt = |lit| [0x77, 8, 0x80, 0, 0x3f, 0x1a, lit, 0x2a, 0x33, 0x24, 0x22];
        check(&plt(0x3b), Some(Form::Plt { threshold: 11 }));
        check(&plt(0x39), Some(Form::Plt { threshold: 9 }));
        // What gcc writes for aligned stacks: rbp - 8, and r10.
        let drap = Form::Deref { register: 6, offset: -8, add: 0 };
        check(&[BREG6, 0x78, DEREF], Some(drap));
        check(&[BREG6, 0], Some(Form::Register { register: 6, offset: 0 }));
        check(&[BREG10, 0x70], Some(Form::Register { register: 10, offset: -16 }));
        // What OpenSSL's assembly has.
        let openssl = Form::Deref { register: 7, offset: 136, add: 8 };
        check(&[BREG7, 0x88, 1, DEREF, PLUS_UCONST, 8], Some(openssl));
        let added = Form::Deref { register: 7, offset: 24, add: 56 };
        check(&[BREG7, 16, PLUS_UCONST, 8, DEREF, 0x08, 56, PLUS], Some(added));
        check(&[PLUS_UCONST, 8], Some(Form::Initial { offset: 8 }));
        for unknown in [&[BREG7, 0, DEREF, DEREF][..], &[DEREF], &[0x96; 40], &[BREG7], &[0xff]] {
            let expected = (unknown == [0x96; 40]).then_some(Form::Initial { offset: 0 });
            check(unknown, expected.filter(|_| false));
        }
    }
}
