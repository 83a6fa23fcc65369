//! The rules of unwind tables in their packed forms, and what they mean.
//!
//! ```text
//! PackedRule, 20 bits        19 18 | 17 ............... 0
//!   plain                     0  0 | base:1 slot:5 cfa:12       CFA = (rsp | rbp) + 8 cfa; rbp at CFA - 8 slot, 0: unchanged
//!   shared                    0  1 | index of a SharedRule:18
//!   special                   1  0 | Special
//! SharedRule, 4 words        kind:8 a:8 b:8 c:8 | word | word | word
//!   general                   cfa register, rbp, return address | cfa offset | rbp offset | return address offset
//!   deref                     register,     rbp, -              | offset     | rbp offset | what is added
//!   plt                       threshold
//!   run                       slot before, slot after, slot at  | mask       | cfa:16 base at:8 shrinks:8 | 0
//! "rbp" and "return address" have their kind in the low and a register in the high four bits.
//! ```

/// Bits of a [`PackedRule`].
pub const RULE_BITS: u32 = 20;
const KIND_SHIFT: u32 = 18;
const PAYLOAD: u32 = (1 << KIND_SHIFT) - 1;
pub(super) const KIND_PLAIN: u32 = 0;
const KIND_SHARED: u32 = 1;
const KIND_SPECIAL: u32 = 2;
const BASE_SHIFT: u32 = 17;
const SLOT_SHIFT: u32 = 12;
/// Greatest slot and CFA offset (by eights) that a plain rule can say.
pub const MAX_SLOT: u32 = 31;
pub const MAX_CFA: u32 = (1 << SLOT_SHIFT) - 1;
/// How many shared rules a table may have.
pub const MAX_SHARED: u32 = 1 << KIND_SHIFT;
/// Greatest distance, in bytes, at which a run may change the CFA.
pub const MAX_RUN: u32 = 32;
/// A run's distance that is never reached.
pub const NEVER: u8 = u8::MAX;

/// What is known of code besides how to step out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Special {
    /// Nothing is known here: go by the frame pointer.
    Unknown = 0,
    /// The outermost frame of its stack.
    End = 1,
    /// Where a signal handler returns to: the interrupted registers are in the `ucontext_t` at rsp.
    Signal = 2,
    /// Code that has changed the stack: go by the frame pointer, wherever it leads.
    StackSwitch = 3,
    /// The table's source says how to step, but this format cannot: go by the frame pointer.
    UnsupportedCfa = 4,
    UnsupportedReturnAddress = 5,
    /// The table has no room for more shared rules.
    TooManyRules = 6,
}

impl Special {
    /// All in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::End,
        Self::Signal,
        Self::StackSwitch,
        Self::UnsupportedCfa,
        Self::UnsupportedReturnAddress,
        Self::TooManyRules,
    ];
}

/// A rule in 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackedRule(u32);

impl PackedRule {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self::special(Special::Unknown);

    /// CFA = (`is_rbp`: rbp, else rsp) + 8 `cfa`; rbp at CFA - 8 `slot`, or unchanged for 0. `None` if it does not fit.
    pub const fn plain(is_rbp: bool, slot: u32, cfa: u32) -> Option<Self> {
        if slot > MAX_SLOT || cfa > MAX_CFA {
            return None;
        }
        Some(Self((is_rbp as u32) << BASE_SHIFT | slot << SLOT_SHIFT | cfa))
    }

    /// The shared rule of that index. `None` if it does not fit.
    pub const fn shared(index: u32) -> Option<Self> {
        if index >= MAX_SHARED { None } else { Some(Self(KIND_SHARED << KIND_SHIFT | index)) }
    }

    /// A special rule.
    pub const fn special(special: Special) -> Self {
        Self(KIND_SPECIAL << KIND_SHIFT | special as u32)
    }

    /// The low 20 bits of a row or of a directory entry.
    #[inline(always)]
    pub const fn from_low_bits(word: u32) -> Self {
        Self(word & ((1 << RULE_BITS) - 1))
    }

    /// The 20 bits.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(super) const fn kind(self) -> u32 {
        self.0 >> KIND_SHIFT
    }

    /// What a plain rule says.
    #[inline(always)]
    pub(super) const fn as_plain(self) -> Plain {
        Plain {
            is_rbp: self.0 >> BASE_SHIFT & 1 != 0,
            slot: self.0 >> SLOT_SHIFT & MAX_SLOT,
            cfa: self.0 & MAX_CFA,
        }
    }

    #[inline(always)]
    pub(super) const fn is_special(self, special: Special) -> bool {
        self.0 == Self::special(special).0
    }

    /// The index of the shared rule that it stands for.
    #[inline(always)]
    pub const fn shared_index(self) -> Option<u32> {
        if self.0 >> KIND_SHIFT == KIND_SHARED { Some(self.0 & PAYLOAD) } else { None }
    }

    /// Whether it means anything in a table with that many shared rules.
    pub const fn is_valid(self, n_shared: u32) -> bool {
        match self.0 >> KIND_SHIFT {
            0 => true,
            KIND_SHARED => self.0 & PAYLOAD < n_shared,
            KIND_SPECIAL => ((self.0 & PAYLOAD) as usize) < Special::ALL.len(),
            _ => false,
        }
    }

    /// The rule itself; `shared` is asked for rules that are shared, and gives nothing where they are gone.
    #[inline(always)]
    pub fn resolve(
        self,
        shared: impl FnOnce(u32) -> Option<SharedRule>,
        distance: u32,
    ) -> Option<Rule> {
        match self.0 >> KIND_SHIFT {
            KIND_PLAIN => Some(Rule::Plain(self.as_plain())),
            KIND_SHARED => shared(self.0 & PAYLOAD).map(|rule| rule.resolve(distance)),
            _ => Some(special_rule(self.0 & PAYLOAD)),
        }
    }
}

#[inline(always)]
const fn special_rule(number: u32) -> Rule {
    Rule::Special(match number {
        1 => Special::End,
        2 => Special::Signal,
        3 => Special::StackSwitch,
        4 => Special::UnsupportedCfa,
        5 => Special::UnsupportedReturnAddress,
        6 => Special::TooManyRules,
        _ => Special::Unknown,
    })
}

/// How to step from a frame to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Plain(Plain),
    General(General),
    Deref(Deref),
    /// CFA = rsp + 8, and 8 more where `rip & 15 >= threshold`: an entry of a procedure linkage table.
    Plt {
        threshold: u32,
    },
    Special(Special),
}

/// CFA = (rbp | rsp) + 8 `cfa`; rbp at CFA - 8 `slot`, or unchanged; the return address at CFA - 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    pub is_rbp: bool,
    pub slot: u32,
    pub cfa: u32,
}

/// CFA = any register + any offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct General {
    pub register: u32,
    pub offset: i32,
    pub rbp: Rbp,
    pub return_address: ReturnAddress,
}

/// CFA = what is stored at (a register + `offset`), + `add`; the return address at CFA - 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deref {
    pub register: u32,
    pub offset: i32,
    pub add: i32,
    pub rbp: Rbp,
}

/// Where the caller's rbp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rbp {
    Unchanged,
    /// At CFA + this.
    AtCfa(i32),
    /// At a register + this.
    AtRegister(u32, i32),
    /// In a register.
    InRegister(u32),
    Unknown,
}

/// Where the return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnAddress {
    /// At CFA + this.
    AtCfa(i32),
    /// In a register.
    InRegister(u32),
}

/// Several pushes or pops in one row: the rule at each byte of a prologue or epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The CFA, by eights, at distance 0.
    pub cfa: u16,
    /// The CFA changes by 8 at distance n + 1 where bit n is set.
    pub mask: u32,
    /// It shrinks there; else it grows.
    pub shrinks: bool,
    /// The slot of rbp at distances below `slot_at`, and from there on.
    pub slot_before: u8,
    pub slot_after: u8,
    pub slot_at: u8,
    /// From this distance on the base is rbp, before it rsp.
    pub base_at: u8,
}

/// A rule that rows refer to by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedRule(pub [u32; 4]);

const GENERAL: u32 = 0;
pub(super) const DEREF: u32 = 1;
pub(super) const PLT: u32 = 2;
pub(super) const RUN: u32 = 3;
pub(super) const RBP_UNCHANGED: u32 = 0;
pub(super) const RBP_AT_CFA: u32 = 1;
pub(super) const RBP_AT_REGISTER: u32 = 2;
const RBP_UNKNOWN: u32 = 3;
pub(super) const RBP_IN_REGISTER: u32 = 4;
const IN_REGISTER: u32 = 1;

impl SharedRule {
    pub const fn general(rule: General) -> Self {
        let (rbp, rbp_offset) = pack_rbp(rule.rbp);
        let (return_address, offset) = match rule.return_address {
            ReturnAddress::AtCfa(offset) => (0, offset),
            ReturnAddress::InRegister(register) => (IN_REGISTER | (register & 15) << 4, 0),
        };
        Self([
            head(GENERAL, rule.register & 15, rbp, return_address),
            rule.offset.cast_unsigned(),
            rbp_offset.cast_unsigned(),
            offset.cast_unsigned(),
        ])
    }

    pub const fn deref(rule: Deref) -> Self {
        let (rbp, rbp_offset) = pack_rbp(rule.rbp);
        Self([
            head(DEREF, rule.register & 15, rbp, 0),
            rule.offset.cast_unsigned(),
            rbp_offset.cast_unsigned(),
            rule.add.cast_unsigned(),
        ])
    }

    pub const fn plt(threshold: u32) -> Self {
        Self([head(PLT, threshold & 15, 0, 0), 0, 0, 0])
    }

    pub const fn run(run: Run) -> Self {
        let slots = (run.slot_before as u32, run.slot_after as u32);
        Self([
            head(RUN, slots.0, slots.1, run.slot_at as u32),
            run.mask,
            run.cfa as u32 | (run.base_at as u32) << 16 | (run.shrinks as u32) << 24,
            0,
        ])
    }

    /// Whether it is a run, which means a rule for each distance.
    pub const fn is_run(self) -> bool {
        self.0[0] & 255 == RUN
    }

    /// Whether it means what its bits say, each in one way.
    pub fn is_valid(self) -> bool {
        let [head, ..] = self.0;
        match head & 255 {
            GENERAL => Self::general(self.as_general()) == self,
            DEREF => Self::deref(self.as_deref()) == self,
            PLT => Self::plt(head >> 8) == self,
            RUN => {
                let run = self.as_run();
                let (before, after) = (u32::from(run.slot_before), u32::from(run.slot_after));
                let changes = run.mask.count_ones();
                let end = u32::from(run.cfa).checked_add_signed(if run.shrinks {
                    -changes.cast_signed()
                } else {
                    changes.cast_signed()
                });
                before <= MAX_SLOT
                    && after <= MAX_SLOT
                    && end.is_some_and(|end| end <= MAX_CFA)
                    && Self::run(run) == self
            }
            _ => false,
        }
    }

    /// The rule at that distance from the row.
    #[inline(always)]
    pub const fn resolve(self, distance: u32) -> Rule {
        match self.0[0] & 255 {
            RUN => Rule::Plain(self.as_run().at(distance)),
            DEREF => Rule::Deref(self.as_deref()),
            PLT => Rule::Plt { threshold: self.0[0] >> 8 & 15 },
            _ => Rule::General(self.as_general()),
        }
    }

    #[inline(always)]
    const fn as_general(self) -> General {
        let [head, offset, rbp_offset, return_address_offset] = self.0;
        let return_address = head >> 24;
        General {
            register: head >> 8 & 15,
            offset: offset.cast_signed(),
            rbp: unpack_rbp(head >> 16, rbp_offset),
            return_address: if return_address & 15 == IN_REGISTER {
                ReturnAddress::InRegister(return_address >> 4)
            } else {
                ReturnAddress::AtCfa(return_address_offset.cast_signed())
            },
        }
    }

    #[inline(always)]
    const fn as_deref(self) -> Deref {
        let [head, offset, rbp_offset, add] = self.0;
        Deref {
            register: head >> 8 & 15,
            offset: offset.cast_signed(),
            add: add.cast_signed(),
            rbp: unpack_rbp(head >> 16, rbp_offset),
        }
    }

    #[inline(always)]
    pub(super) const fn kind(self) -> u32 {
        self.0[0] & 255
    }

    /// The register that the CFA is based on.
    #[inline(always)]
    pub(super) const fn register(self) -> u32 {
        self.0[0] >> 8 & 15
    }

    /// What is added to it.
    #[inline(always)]
    pub(super) const fn offset(self) -> i32 {
        self.0[1].cast_signed()
    }

    #[inline(always)]
    pub(super) const fn rbp_kind(self) -> u32 {
        self.0[0] >> 16 & 15
    }

    #[inline(always)]
    pub(super) const fn rbp_register(self) -> u32 {
        self.0[0] >> 20 & 15
    }

    #[inline(always)]
    pub(super) const fn rbp_offset(self) -> i32 {
        self.0[2].cast_signed()
    }

    #[inline(always)]
    pub(super) const fn has_return_address_in_register(self) -> bool {
        self.0[0] >> 24 & 15 == IN_REGISTER
    }

    #[inline(always)]
    pub(super) const fn return_address_register(self) -> u32 {
        self.0[0] >> 28
    }

    /// Of a general rule where the return address is, from the CFA; of a deref rule what is added to what is read.
    #[inline(always)]
    pub(super) const fn last_offset(self) -> i32 {
        self.0[3].cast_signed()
    }

    #[inline(always)]
    pub(super) const fn threshold(self) -> u32 {
        self.0[0] >> 8 & 15
    }

    #[inline(always)]
    pub(super) const fn as_run(self) -> Run {
        let [head, mask, start, _] = self.0;
        Run {
            cfa: start as u16,
            mask,
            shrinks: start >> 24 != 0,
            slot_before: (head >> 8) as u8,
            slot_after: (head >> 16) as u8,
            slot_at: (head >> 24) as u8,
            base_at: (start >> 16) as u8,
        }
    }
}

impl Run {
    /// The rule at that distance.
    #[inline(always)]
    pub const fn at(&self, distance: u32) -> Plain {
        let passed = if distance >= MAX_RUN { u32::MAX } else { (1 << distance) - 1 };
        let changes = (self.mask & passed).count_ones();
        let start = self.cfa as u32;
        let slot = if distance >= self.slot_at as u32 { self.slot_after } else { self.slot_before };
        Plain {
            is_rbp: self.base_at != NEVER && distance >= self.base_at as u32,
            slot: slot as u32,
            cfa: if self.shrinks {
                start.wrapping_sub(changes)
            } else {
                start.wrapping_add(changes)
            },
        }
    }
}

const fn head(kind: u32, a: u32, b: u32, c: u32) -> u32 {
    kind | a << 8 | b << 16 | c << 24
}

const fn pack_rbp(rbp: Rbp) -> (u32, i32) {
    match rbp {
        Rbp::Unchanged => (0, 0),
        Rbp::AtCfa(offset) => (RBP_AT_CFA, offset),
        Rbp::AtRegister(register, offset) => (RBP_AT_REGISTER | (register & 15) << 4, offset),
        Rbp::InRegister(register) => (RBP_IN_REGISTER | (register & 15) << 4, 0),
        Rbp::Unknown => (RBP_UNKNOWN, 0),
    }
}

#[inline(always)]
const fn unpack_rbp(packed: u32, offset: u32) -> Rbp {
    let register = packed >> 4 & 15;
    match packed & 15 {
        0 => Rbp::Unchanged,
        RBP_AT_CFA => Rbp::AtCfa(offset.cast_signed()),
        RBP_AT_REGISTER => Rbp::AtRegister(register, offset.cast_signed()),
        RBP_IN_REGISTER => Rbp::InRegister(register),
        _ => Rbp::Unknown,
    }
}
