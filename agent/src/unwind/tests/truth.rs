//! For each row of gimli's table, at each byte of it that may be another row of ours: the same step.
//!
//! Both sides step from the same registers over a memory of numbers that depend on the address, gimli's side by its own
//! evaluator of expressions. So a difference in CFA, return address or rbp is seen, whatever form the rule has.

use std::collections::BTreeMap;

use agent_common::unwind::registers::{IN_LEAF, Registers};
use agent_common::unwind::rule::{Rule, Special};
use agent_common::unwind::step::{Stepped, step};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EndianSlice, EvaluationResult, LittleEndian,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, Value, X86_64,
};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};

use super::{are_all_wanted, elf_files};
use crate::unwind::{Table, build};

/// Bytes of a row that are looked at from its start: runs end before.
const LOOK: u64 = 40;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A place in memory has a number that may be a return address and a stack.
fn memory(address: u64) -> u64 {
    let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    0x10_0000_0000 + (mixed & !7)
}

fn registers(rip: u64) -> Registers {
    let mut regs = Registers { rip, is_exact: 1, others: IN_LEAF, ..Registers::default() };
    for (number, register) in (0_u64..).zip(&mut regs.leaf) {
        *register = 0x8_0000_0000 + number * 0x100_0000;
    }
    // A CFA must be above the stack pointer.
    regs.leaf[7] = 0x4_0000_0000;
    (regs.rbp, regs.rsp) = (regs.leaf[6], regs.leaf[7]);
    regs
}

/// A caller's rip, rsp and rbp.
type Caller = (u64, u64, u64);

struct Truth<'a> {
    section: EhFrame<Slice<'a>>,
    encoding: gimli::Encoding,
    regs: Registers,
}

impl Truth<'_> {
    fn register(&self, number: u16) -> Option<u64> {
        if number == X86_64::RA.0 {
            return Some(self.regs.rip);
        }
        self.regs.leaf.get(usize::from(number)).copied()
    }

    fn evaluate(&self, expression: UnwindExpression<usize>, initial: Option<u64>) -> Option<u64> {
        let mut evaluation = expression.get(&self.section).ok()?.evaluation(self.encoding);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, .. } => {
                    evaluation.resume_with_memory(Value::Generic(memory(address))).ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = Value::Generic(self.register(register.0)?);
                    evaluation.resume_with_register(value).ok()?
                }
                _ => return None,
            };
        }
        evaluation.value_result()?.to_u64(u64::MAX).ok()
    }

    fn saved(&self, rule: Option<&RegisterRule<usize>>, same: u64, cfa: u64) -> Option<u64> {
        match rule {
            None | Some(RegisterRule::SameValue) => Some(same),
            Some(RegisterRule::Offset(offset)) => Some(memory(cfa.wrapping_add_signed(*offset))),
            Some(RegisterRule::Register(register)) => self.register(register.0),
            Some(RegisterRule::Expression(expression)) => {
                self.evaluate(*expression, Some(cfa)).map(memory)
            }
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(*offset)),
            Some(RegisterRule::ValExpression(expression)) => self.evaluate(*expression, Some(cfa)),
            Some(_) => None,
        }
    }

    /// `Ok(None)`: the outermost frame.
    fn step(&self, row: &UnwindTableRow<usize>) -> Result<Option<Caller>, &'static str> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                self.register(register.0).map(|base| base.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => self.evaluate(*expression, None),
        };
        if row.register(X86_64::RA) == Some(RegisterRule::Undefined) {
            return Ok(None);
        }
        let cfa = cfa.ok_or("gimli cannot evaluate the CFA")?;
        let rip = self.saved(row.register(X86_64::RA).as_ref(), memory(cfa - 8), cfa);
        let rbp = match row.register(X86_64::RBP) {
            Some(RegisterRule::Undefined) => Some(1),
            rule => self.saved(rule.as_ref(), self.regs.rbp, cfa),
        };
        let rsp = match row.register(X86_64::RSP) {
            None => Some(cfa),
            rule => self.saved(rule.as_ref(), self.regs.rsp, cfa),
        };
        let caller = rip.zip(rsp).zip(rbp).map(|((rip, rsp), rbp)| (rip, rsp, rbp));
        caller.map(Some).ok_or("gimli cannot evaluate a register")
    }
}

/// Why the two differ; `None` if they do not.
fn difference(
    table: &Table,
    offset: u64,
    truth: &Truth<'_>,
    row: &UnwindTableRow<usize>,
) -> Option<&'static str> {
    let rule = table.rule_at(offset);
    let (packed, distance) = table.packed_at(offset);
    let expected = match truth.step(row) {
        Ok(expected) => expected,
        Err(why) => return Some(why),
    };
    let mut regs = truth.regs;
    let shared = |index| table.shared(index);
    let stepped = step(&mut regs, packed, distance, shared, |address| Some(memory(address)));
    let found = match stepped {
        Stepped::Caller => Some(Some((regs.rip, regs.rsp, regs.rbp))),
        Stepped::End => Some(None),
        Stepped::Failed(_) => None,
    };
    if found == Some(expected) && !matches!(rule, Rule::Special(Special::Unknown)) {
        return None;
    }
    Some(match (rule, stepped, expected) {
        (Rule::Special(Special::UnsupportedCfa), ..) => "known: a CFA that no rule can say",
        (Rule::Special(Special::UnsupportedReturnAddress), ..) => {
            "known: a return address that no rule can say"
        }
        (_, Stepped::Failed(_), Some((_, rsp, _))) if rsp <= truth.regs.rsp => {
            "known: the CFA does not rise from these registers"
        }
        (_, _, Some((rip, rsp, _))) if (regs.rip, regs.rsp) == (rip, rsp) && regs.rbp == 1 => {
            "known: an rbp that no rule can say"
        }
        (Rule::Special(Special::Signal), ..) => "known: a signal trampoline described otherwise",
        _ => "DIFFERENT",
    })
}

/// Compares one file; counts each kind of difference, and shows the first that should not be.
fn compare(path: &str, data: &[u8], counts: &mut BTreeMap<&'static str, u64>) -> Option<()> {
    let file = object::File::parse(data).ok()?;
    let section = file.section_by_name(".eh_frame")?;
    let (table, _) = build(data, None).ok()?;
    let eh_frame = EhFrame::new(section.data().ok()?, LittleEndian);
    let mut bases = BaseAddresses::default().set_eh_frame(section.address());
    if let Some(text) = file.section_by_name(".text") {
        bases = bases.set_text(text.address());
    }
    let offset_of = |address: u64| {
        file.segments().find_map(|segment| {
            let (offset, size) = segment.file_range();
            let distance = address.checked_sub(segment.address())?;
            let SegmentFlags::Elf { p_flags } = segment.flags() else { return None };
            (distance < size && p_flags & object::elf::PF_X != 0).then_some(offset + distance)
        })
    };
    let mut behind = std::collections::BTreeMap::new();
    let mut entries = eh_frame.entries(&bases);
    // Of the sample a part: an unoptimized test would take a minute for all.
    let stride = if are_all_wanted() { 1 } else { 10 };
    let mut n_functions = 0;
    let mut context = UnwindContext::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        n_functions += 1;
        let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
        let Some(start) = offset_of(fde.initial_address()) else { continue };
        if behind
            .range(..fde.end_address())
            .next_back()
            .is_some_and(|(_, end)| *end > fde.initial_address())
        {
            *counts.entry("known: functions that overlap").or_default() += 1;
            continue;
        }
        behind.insert(fde.initial_address(), fde.end_address());
        if n_functions % stride != 0 {
            continue;
        }
        let encoding = fde.cie().encoding();
        let Ok(mut rows) = fde.rows(&eh_frame, &bases, &mut context) else { continue };
        while let Ok(Some(row)) = rows.next_row() {
            *counts.entry("rows").or_default() += 1;
            let len = row.end_address().saturating_sub(row.start_address());
            let places = (0..len.min(LOOK)).chain((len > LOOK).then_some(len - 1));
            for address in places.map(|place| row.start_address() + place) {
                let offset = start + (address - fde.initial_address());
                let truth = Truth { section: eh_frame, encoding, regs: registers(address) };
                let kind = difference(&table, offset, &truth, row);
                let n = counts.entry(kind.unwrap_or("places with the same step")).or_default();
                *n += 1;
                if kind == Some("DIFFERENT") && *n < 5 {
                    println!(
                        "{path} at {offset:#x}: {:x?}, gimli says {row:x?}",
                        table.rule_at(offset)
                    );
                }
            }
        }
    }
    Some(())
}

/// With `PILOTLIGHT_ALL_ELF=1` all functions of all files of the machine, which takes minutes.
#[test]
fn each_row_of_gimli_gives_the_same_step() {
    let mut counts = BTreeMap::new();
    let mut n_files = 0;
    for path in elf_files() {
        let Ok(data) = std::fs::read(&path) else { continue };
        n_files += u64::from(compare(&path.to_string_lossy(), &data, &mut counts).is_some());
    }
    println!("{n_files} files: {counts:#?}");
    let unknown: Vec<_> = counts.keys().filter(|kind| kind.starts_with("DIFF")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(n_files >= 3, "no ELF files to compare were found");
    let same = counts["places with the same step"];
    let known: u64 =
        counts.iter().filter(|(kind, _)| kind.starts_with("known")).map(|(_, n)| n).sum();
    assert!(known * 1000 < same, "{known} known differences in {same} places are too many");
}
