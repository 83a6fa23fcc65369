//! A Go function's code and changes of its stack pointer in; its exact rows out.
//!
//! ```text
//! from Go 1.21   push rbp; mov rbp, rsp; sub rsp, N        rbp at CFA - 16 from behind the push
//! before         sub rsp, N; mov [rsp + N - 8], rbp        rbp at CFA - 16 from behind the move
//! from C to Go   sub rsp, N; mov [rsp + M], rbp            rbp at CFA - (N + 8 - M)
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use agent_common::unwind::registers::RSP;
use agent_common::unwind::rule::{General, PackedRule, Rbp, ReturnAddress, Special};

use super::pclntab::u32_at;
use crate::unwind::rules::Rules;

const PUSH_RBP: u8 = 0x55;
/// Prefix that makes the same byte a push of r13.
const REX_B: u8 = 0x41;
/// `mov [rsp + disp], rbp` with a displacement of one and of four bytes.
const SAVE_RBP_8: [u8; 4] = [0x48, 0x89, 0x6c, 0x24];
const SAVE_RBP_32: [u8; 4] = [0x48, 0x89, 0xac, 0x24];
/// Saving rbp is among the first instructions behind the one that makes room.
const SAVE_WITHIN: usize = 32;

/// Where the caller's rbp is, from the CFA down.
type Saved = Option<u32>;

/// Rows by distance from the function's start. `switches`: once there is a frame, the stack pointer cannot be trusted.
pub(super) fn rows(
    code: &[u8],
    changes: &[(i32, u32)],
    switches: bool,
    rules: &mut Rules,
) -> Vec<(u32, PackedRule)> {
    let mut rows = Vec::with_capacity(changes.len());
    let (mut start, mut before) = (0_u32, 0_u32);
    let mut slot: Saved = None;
    for &(delta, end) in changes {
        let Ok(delta) = u32::try_from(delta) else {
            // The return address itself was popped.
            rows.push((start, PackedRule::UNKNOWN));
            (start, before) = (end, 0);
            continue;
        };
        let mut at = start;
        if slot.is_none() && delta > before {
            if is_push(code, start, delta, before) {
                slot = Some(delta.saturating_add(8));
            } else if let Some((behind, below)) = find_save(code, start, end, delta) {
                rows.push((start, rule(delta, None, rules)));
                at = behind;
                slot = Some(below);
            }
        }
        // There is one prologue; behind an early return the frame just stands again. Where rbp was saved counts as long as
        // it is not below the stack pointer.
        let saved = slot.filter(|below| *below <= delta.saturating_add(8));
        let is_lost = switches && saved.is_some();
        rows.push((at, if is_lost { switch() } else { rule(delta, saved, rules) }));
        (start, before) = (end, delta);
    }
    if switches && slot.is_none() {
        // It keeps no rbp: its caller's is in the register, all the way.
        return vec![(0, switch())];
    }
    rows
}

const fn switch() -> PackedRule {
    PackedRule::special(Special::StackSwitch)
}

fn rule(delta: u32, saved: Saved, rules: &mut Rules) -> PackedRule {
    let offset = |distance: u32| i32::try_from(distance).unwrap_or(i32::MAX);
    rules.general(General {
        register: RSP,
        offset: offset(delta.saturating_add(8)),
        rbp: saved.map_or(Rbp::Unchanged, |below| Rbp::AtCfa(offset(below).saturating_neg())),
        return_address: ReturnAddress::AtCfa(-8),
    })
}

/// The instruction that ends at `at` is `push rbp`.
fn is_push(code: &[u8], at: u32, delta: u32, before: u32) -> bool {
    let at = at as usize;
    let byte = |back: usize| at.checked_sub(back).and_then(|at| code.get(at)).copied();
    delta.checked_sub(before) == Some(8) && byte(1) == Some(PUSH_RBP) && byte(2) != Some(REX_B)
}

/// A move of rbp to the stack behind `start`: where it ends, and how far below the CFA it saves.
fn find_save(code: &[u8], start: u32, end: u32, delta: u32) -> Option<(u32, u32)> {
    let end = (end as usize).min((start as usize).checked_add(SAVE_WITHIN)?).min(code.len());
    let code = code.get(start as usize..end)?;
    for (at, bytes) in code.windows(SAVE_RBP_8.len()).enumerate() {
        let operand = at.checked_add(SAVE_RBP_8.len())?;
        let (displacement, len) = if bytes == SAVE_RBP_8 {
            (u32::from(*code.get(operand)?), 1)
        } else if bytes == SAVE_RBP_32 {
            (u32_at(code, operand)?, 4)
        } else {
            continue;
        };
        // A displacement of one byte has a sign: up to 127.
        let below = delta.checked_add(8)?.checked_sub(displacement)?;
        let behind = u32::try_from(operand.checked_add(len)?).ok()?;
        let is_slot = below > 8 && (len == 4 || displacement < 128);
        return is_slot.then_some((start.checked_add(behind)?, below));
    }
    None
}
