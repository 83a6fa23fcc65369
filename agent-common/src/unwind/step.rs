//! One step up a user stack: a frame's registers and rule, and its process's memory, in; its caller's registers out.

use crate::outcome::UnwindOutcome;

use super::registers::{RBP, RSP, Registers, UNKNOWN, rip_at, saved_at};
use super::rule::{
    DEREF, KIND_PLAIN, PLT, PackedRule, Plain, RBP_AT_CFA, RBP_AT_REGISTER, RBP_IN_REGISTER,
    RBP_UNCHANGED, RUN, SharedRule, Special,
};
use super::{FIRST_CODE, USER_END, is_frame_pointer};

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The registers are the caller's now.
    Caller,
    /// The frame was the outermost: the walk is complete.
    End,
    /// There is no going on; why.
    Failed(UnwindOutcome),
}

/// The value of an rbp that nobody knows: it is no address, so that nothing is read there.
const UNKNOWN_RBP: u64 = 1;
/// [`Caller::rbp_at`]: unchanged, and unknown. No stack is there.
const UNCHANGED: u64 = 0;
const LOST: u64 = 1;
/// The threshold of a PLT is about the instruction's place in its entry of 16 bytes.
const PLT_MASK: u64 = 15;

/// Where a caller's registers are. What cannot be known has the CFA 0, which is below every floor: a `Result` would have the
/// compiler mix an error's bits with those of an address, which the verifier refuses.
struct Caller {
    cfa: u64,
    /// Where its rbp is, or [`UNCHANGED`], or [`LOST`].
    rbp_at: u64,
    /// Where the return address is; 0 when it is `return_address`.
    return_address_at: u64,
    return_address: u64,
    /// The lowest stack pointer that it may have.
    floor: u64,
    /// Why the walk ends if it has a lower one.
    otherwise: UnwindOutcome,
}

/// Steps to the caller by the rule that a look-up found, `distance` bytes behind its row. `shared` gives the table's shared rule
/// of an index, `read` eight bytes of the process's memory, or nothing where they are not resident.
///
/// Each kind of rule is taken apart where it is used. A rule as one value, of one kind or another, would have the compiler mix
/// the kinds' parts in one register, some of them never written, which the verifier refuses.
#[inline(always)]
pub fn step(
    regs: &mut Registers,
    rule: PackedRule,
    distance: u32,
    shared: impl FnOnce(u32) -> Option<SharedRule>,
    mut read: impl FnMut(u64) -> Option<u64>,
) -> Stepped {
    let caller = if rule.kind() == KIND_PLAIN {
        by_plain(regs, rule.as_plain())
    } else if let Some(index) = rule.shared_index() {
        let Some(rule) = shared(index) else {
            return Stepped::Failed(UnwindOutcome::TablePending);
        };
        by_shared(regs, rule, distance, &mut read)
    } else if rule.is_special(Special::End) {
        return Stepped::End;
    } else if rule.is_special(Special::Signal) {
        return by_ucontext(regs, &mut read);
    } else if regs.rbp == 0 {
        return Stepped::End;
    } else {
        by_frame_pointer(regs, rule)
    };
    go(regs, &caller, &mut read)
}

#[inline(always)]
fn by_shared(
    regs: &mut Registers,
    rule: SharedRule,
    distance: u32,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Caller {
    match rule.kind() {
        RUN => by_plain(regs, rule.as_run().at(distance)),
        PLT => by_plt(regs, rule.threshold()),
        DEREF => by_deref(regs, rule, read),
        _ => by_general(regs, rule, read),
    }
}

/// Makes the caller's registers the current ones.
#[inline(always)]
fn go(regs: &mut Registers, caller: &Caller, read: &mut impl FnMut(u64) -> Option<u64>) -> Stepped {
    if caller.cfa < caller.floor || caller.cfa >= USER_END {
        return Stepped::Failed(caller.otherwise);
    }
    let mut return_address = caller.return_address;
    if caller.return_address_at != 0 {
        let Some(stored) = read(caller.return_address_at) else {
            return Stepped::Failed(UnwindOutcome::StackFault);
        };
        return_address = stored;
    }
    if return_address == 0 {
        return Stepped::End;
    }
    if !(FIRST_CODE..USER_END).contains(&return_address) {
        return Stepped::Failed(UnwindOutcome::ReturnAddressInvalid);
    }
    if caller.rbp_at == LOST {
        regs.rbp = UNKNOWN_RBP;
    } else if caller.rbp_at != UNCHANGED {
        let Some(stored) = read(caller.rbp_at) else {
            return Stepped::Failed(UnwindOutcome::StackFault);
        };
        regs.rbp = stored;
    }
    regs.rip = return_address;
    regs.rsp = caller.cfa;
    regs.is_exact = 0;
    regs.others = UNKNOWN;
    Stepped::Caller
}

#[inline(always)]
fn by_plain(regs: &Registers, rule: Plain) -> Caller {
    let base = if rule.is_rbp { regs.rbp } else { regs.rsp };
    let cfa = base.wrapping_add(u64::from(rule.cfa) * 8);
    let rbp_at =
        if rule.slot == 0 { UNCHANGED } else { cfa.wrapping_sub(u64::from(rule.slot) * 8) };
    above(regs, cfa, rbp_at)
}

#[inline(always)]
fn by_plt(regs: &Registers, threshold: u32) -> Caller {
    let is_pushed = regs.lookup_address() & PLT_MASK >= u64::from(threshold);
    above(regs, regs.rsp.wrapping_add(if is_pushed { 16 } else { 8 }), UNCHANGED)
}

/// A caller whose return address is below its CFA, as a call leaves it.
#[inline(always)]
fn above(regs: &Registers, cfa: u64, rbp_at: u64) -> Caller {
    Caller {
        cfa,
        rbp_at,
        return_address_at: cfa.wrapping_sub(8),
        return_address: 0,
        // The return address is on the stack: a caller's stack pointer rises at each step.
        floor: regs.rsp.saturating_add(8),
        otherwise: if regs.rbp == UNKNOWN_RBP {
            UnwindOutcome::RegisterUnknown
        } else {
            UnwindOutcome::CfaInvalid
        },
    }
}

#[inline(always)]
fn by_general(
    regs: &mut Registers,
    rule: SharedRule,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Caller {
    let Some(base) = register(regs, rule.register(), read) else {
        return unknown(UnwindOutcome::RegisterUnknown);
    };
    let cfa = offset_by(base, rule.offset());
    let mut return_address = 0;
    if rule.has_return_address_in_register() {
        let Some(value) = register(regs, rule.return_address_register(), read) else {
            return unknown(UnwindOutcome::RegisterUnknown);
        };
        return_address = value;
    }
    let rbp_at = place_of_rbp(regs, rule, cfa, read);
    let mut caller = above(regs, cfa, rbp_at);
    caller.return_address = return_address;
    if rule.has_return_address_in_register() {
        caller.return_address_at = 0;
        // Nothing of this frame need be on the stack.
        caller.floor = regs.rsp;
    } else {
        caller.return_address_at = offset_by(cfa, rule.last_offset());
    }
    caller
}

/// A caller that cannot be found, and why.
#[inline(always)]
const fn unknown(otherwise: UnwindOutcome) -> Caller {
    Caller { cfa: 0, rbp_at: 0, return_address_at: 0, return_address: 0, floor: 1, otherwise }
}

#[inline(always)]
fn by_deref(
    regs: &mut Registers,
    rule: SharedRule,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Caller {
    let Some(base) = register(regs, rule.register(), read) else {
        return unknown(UnwindOutcome::RegisterUnknown);
    };
    let Some(stored) = read(offset_by(base, rule.offset())) else {
        return unknown(UnwindOutcome::StackFault);
    };
    let cfa = offset_by(stored, rule.last_offset());
    let rbp_at = place_of_rbp(regs, rule, cfa, read);
    above(regs, cfa, rbp_at)
}

/// Where rbp is saved. One that is in a register is moved, one that cannot be known is [`LOST`]: most callers do not need it.
#[inline(always)]
fn place_of_rbp(
    regs: &mut Registers,
    rule: SharedRule,
    cfa: u64,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> u64 {
    match rule.rbp_kind() {
        RBP_UNCHANGED => UNCHANGED,
        RBP_AT_CFA => offset_by(cfa, rule.rbp_offset()),
        RBP_AT_REGISTER => match register(regs, rule.rbp_register(), read) {
            Some(base) => offset_by(base, rule.rbp_offset()),
            None => LOST,
        },
        RBP_IN_REGISTER => {
            regs.rbp = register(regs, rule.rbp_register(), read).unwrap_or(UNKNOWN_RBP);
            UNCHANGED
        }
        _ => LOST,
    }
}

#[inline(always)]
fn register(
    regs: &Registers,
    number: u32,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    if number == RBP && regs.rbp == UNKNOWN_RBP {
        return None;
    }
    regs.get(number, read)
}

/// Along the frame record at rbp:
///
/// ```text
/// rbp + 8   return address
/// rbp       the caller's rbp
/// ```
#[inline(always)]
fn by_frame_pointer(regs: &Registers, rule: PackedRule) -> Caller {
    let is_switch = rule.is_special(Special::StackSwitch);
    let otherwise = if is_switch || rule.is_special(Special::Unknown) {
        UnwindOutcome::FramePointerInvalid
    } else {
        UnwindOutcome::RuleUnsupported
    };
    let lowest = if is_switch { 0 } else { regs.rsp };
    if !is_frame_pointer(regs.rbp, lowest) {
        return unknown(otherwise);
    }
    Caller {
        cfa: regs.rbp.wrapping_add(16),
        rbp_at: regs.rbp,
        return_address_at: regs.rbp.wrapping_add(8),
        return_address: 0,
        floor: lowest,
        otherwise,
    }
}

/// To the frame that a signal interrupted, which may be on another stack.
#[inline(always)]
fn by_ucontext(regs: &mut Registers, read: &mut impl FnMut(u64) -> Option<u64>) -> Stepped {
    let ucontext = regs.rsp;
    let Some(rip) = read(rip_at(ucontext)) else {
        return Stepped::Failed(UnwindOutcome::StackFault);
    };
    let Some(rsp) = read(saved_at(ucontext, RSP)) else {
        return Stepped::Failed(UnwindOutcome::StackFault);
    };
    let Some(rbp) = read(saved_at(ucontext, RBP)) else {
        return Stepped::Failed(UnwindOutcome::StackFault);
    };
    regs.rip = rip;
    regs.rsp = rsp;
    regs.rbp = rbp;
    regs.is_exact = 1;
    regs.others = ucontext;
    Stepped::Caller
}

#[inline(always)]
const fn offset_by(base: u64, offset: i32) -> u64 {
    base.wrapping_add_signed(offset as i64)
}
