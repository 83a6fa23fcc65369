//! A row of gimli's table in; its packed rule out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::registers::{N_REGISTERS, RSP as RSP_NUMBER};
use agent_common::unwind::rule::{
    Deref, General, PackedRule, Rbp, ReturnAddress, SharedRule, Special,
};
use gimli::{CfaRule, Encoding, Register, RegisterRule, UnwindSection, UnwindTableRow, X86_64};

use super::expression::{Form, recognize};
use super::{Slice, Storage};
use crate::unwind::Counts;
use crate::unwind::rules::Rules;

/// A rule that this format cannot say.
pub(super) const UNSUPPORTED: PackedRule = PackedRule::special(Special::UnsupportedCfa);
/// Where a signal handler's return finds the interrupted rip: `ucontext_t` at rsp (see `registers::rip_at`).
const SIGNAL_RIP: Form = Form::Register { register: RSP_NUMBER, offset: 168 };

type Row = UnwindTableRow<usize, Storage>;

/// Packs a row, and counts what cannot be said.
pub(super) fn pack<'a, S: UnwindSection<Slice<'a>>>(
    row: &Row,
    section: &S,
    encoding: Encoding,
    rules: &mut Rules,
    counts: &mut Counts,
) -> PackedRule {
    let form = |expression: &gimli::UnwindExpression<usize>| {
        recognize(expression.get(section).ok()?, encoding)
    };
    let return_address = match row.register(X86_64::RA) {
        // Set so: the outermost frame. Not set at all: where a call leaves it.
        Some(RegisterRule::Undefined) => return PackedRule::special(Special::End),
        None => Some(ReturnAddress::AtCfa(-8)),
        Some(RegisterRule::Offset(offset)) => narrow(offset).map(ReturnAddress::AtCfa),
        Some(RegisterRule::Register(register)) => number(register).map(ReturnAddress::InRegister),
        Some(RegisterRule::Expression(expression)) => match form(&expression) {
            Some(SIGNAL_RIP) => return PackedRule::special(Special::Signal),
            Some(Form::Initial { offset }) => Some(ReturnAddress::AtCfa(offset)),
            _ => None,
        },
        _ => None,
    };
    let Some(return_address) = return_address else {
        counts.unsupported_return_address = counts.unsupported_return_address.saturating_add(1);
        return PackedRule::special(Special::UnsupportedReturnAddress);
    };
    let rbp = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => Rbp::Unchanged,
        Some(RegisterRule::Undefined) => Rbp::Unknown,
        Some(rule) => saved(&rule, form).unwrap_or_else(|| {
            counts.unsupported_rbp = counts.unsupported_rbp.saturating_add(1);
            Rbp::Unknown
        }),
    };
    with_cfa(row, form, rbp, return_address, rules).unwrap_or_else(|| {
        counts.unsupported_cfa = counts.unsupported_cfa.saturating_add(1);
        UNSUPPORTED
    })
}

/// Where a register is saved.
fn saved(
    rule: &RegisterRule<usize>,
    form: impl Fn(&gimli::UnwindExpression<usize>) -> Option<Form>,
) -> Option<Rbp> {
    match rule {
        RegisterRule::Offset(offset) => narrow(*offset).map(Rbp::AtCfa),
        RegisterRule::Register(register) => number(*register).map(Rbp::InRegister),
        RegisterRule::Expression(expression) => match form(expression)? {
            Form::Initial { offset } => Some(Rbp::AtCfa(offset)),
            Form::Register { register, offset } => Some(Rbp::AtRegister(register, offset)),
            Form::Deref { .. } | Form::Plt { .. } => None,
        },
        _ => None,
    }
}

fn with_cfa(
    row: &Row,
    form: impl Fn(&gimli::UnwindExpression<usize>) -> Option<Form>,
    rbp: Rbp,
    return_address: ReturnAddress,
    rules: &mut Rules,
) -> Option<PackedRule> {
    // A caller's rsp is the CFA; who says otherwise has left the ABI.
    if !matches!(row.register(X86_64::RSP), None | Some(RegisterRule::ValOffset(0))) {
        return None;
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            Form::Register { register: number(*register)?, offset: narrow(*offset)? }
        }
        CfaRule::Expression(expression) => form(expression)?,
    };
    match cfa {
        Form::Register { register, offset } => {
            Some(rules.general(General { register, offset, rbp, return_address }))
        }
        Form::Deref { register, offset, add } if return_address == ReturnAddress::AtCfa(-8) => {
            Some(rules.shared(SharedRule::deref(Deref { register, offset, add, rbp })))
        }
        Form::Plt { threshold }
            if return_address == ReturnAddress::AtCfa(-8) && rbp == Rbp::Unchanged =>
        {
            Some(rules.shared(SharedRule::plt(threshold)))
        }
        Form::Deref { .. } | Form::Plt { .. } | Form::Initial { .. } => None,
    }
}

fn narrow(offset: i64) -> Option<i32> {
    i32::try_from(offset).ok()
}

/// A general register's number.
fn number(register: Register) -> Option<u32> {
    let number = u32::from(register.0);
    ((number as usize) < N_REGISTERS).then_some(number)
}
