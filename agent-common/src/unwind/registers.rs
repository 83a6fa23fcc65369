//! The registers that a step starts from and leaves.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// DWARF numbers of the registers that are kept through all frames (System V ABI, AMD64 supplement, figure 3.36).
pub const RBP: u32 = 6;
pub const RSP: u32 = 7;
/// How many general registers there are.
pub const N_REGISTERS: usize = 16;

/// [`Registers::others`]: the other registers are unknown, as in every caller.
pub const UNKNOWN: u64 = 0;
/// [`Registers::others`]: they are in [`Registers::leaf`].
pub const IN_LEAF: u64 = 1;

/// Offset of `mcontext_t.gregs` in `ucontext_t` (`arch/x86/include/uapi/asm/sigcontext.h`).
const GREGS: u64 = 40;
/// Index in `gregs` of the DWARF registers 0 to 7, four bits each, the lowest first:
/// rax 13, rdx 12, rcx 14, rbx 11, rsi 9, rdi 8, rbp 10, rsp 15. Registers 8 to 15 have indices 0 to 7.
const GREGS_INDEX: u32 = 0xfa89_becd;
/// Index in `gregs` of the instruction pointer.
const GREGS_RIP: u64 = 16;

/// The registers of one frame.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer: the next instruction in the leaf, the return address in a caller.
    pub rip: u64,
    pub rsp: u64,
    pub rbp: u64,
    /// 1 where `rip` is the instruction itself that comes next: in the leaf (but for a system call, after which `rip` is a
    /// return address), and in the frame that a signal interrupted. 0 where it is a return address.
    pub is_exact: u64,
    /// Where the other registers are: [`UNKNOWN`], [`IN_LEAF`], or the address of a `ucontext_t`, right after a signal frame.
    pub others: u64,
    /// All registers by DWARF number; they count while `others` is [`IN_LEAF`].
    pub leaf: [u64; N_REGISTERS],
}

impl Registers {
    /// The address by which this frame's code is looked up: a return address may lie behind its function's last
    /// instruction, so the call itself is meant.
    #[inline(always)]
    pub const fn lookup_address(&self) -> u64 {
        if self.is_exact == 0 { self.rip.wrapping_sub(1) } else { self.rip }
    }

    /// A register by DWARF number; `None` where it is not known.
    #[inline(always)]
    pub fn get(&self, register: u32, read: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        if register == RSP {
            return Some(self.rsp);
        }
        if register == RBP {
            return Some(self.rbp);
        }
        match self.others {
            UNKNOWN => None,
            // The mask is for the verifier and costs an instruction.
            IN_LEAF => Some(self.leaf[register as usize & (N_REGISTERS - 1)]),
            ucontext => read(saved_at(ucontext, register)),
        }
    }
}

/// Where a `ucontext_t` has a register, by DWARF number.
#[inline(always)]
pub(super) const fn saved_at(ucontext: u64, register: u32) -> u64 {
    let index =
        if register >= 8 { register - 8 } else { GREGS_INDEX >> (register.wrapping_mul(4)) & 15 };
    gregs_at(ucontext, index as u64)
}

/// Where a `ucontext_t` has the instruction pointer.
#[inline(always)]
pub(super) const fn rip_at(ucontext: u64) -> u64 {
    gregs_at(ucontext, GREGS_RIP)
}

#[inline(always)]
const fn gregs_at(ucontext: u64, index: u64) -> u64 {
    ucontext.wrapping_add(GREGS).wrapping_add(index.wrapping_mul(8))
}

#[cfg(test)]
mod tests {
    use super::{IN_LEAF, N_REGISTERS, RBP, RSP, Registers, UNKNOWN, rip_at, saved_at};

    #[test]
    fn the_kernels_layout_of_a_ucontext() {
        // `__restore_rt` of glibc 2.36, as its own `.eh_frame` says it: readelf --debug-dump=frames libc.so.6.
        let expected =
            [144, 136, 152, 128, 112, 104, 120, 160, 40, 48, 56, 64, 72, 80, 88, 96].into_iter();
        for (register, offset) in expected.enumerate() {
            assert_eq!(saved_at(0x1000, register as u32), 0x1000 + offset, "register {register}");
        }
        assert_eq!(rip_at(0), 168);
    }

    #[test]
    fn registers_come_from_where_they_are() {
        let mut leaf = [0; N_REGISTERS];
        leaf[10] = 77;
        let mut regs = Registers { rsp: 1, rbp: 2, others: UNKNOWN, leaf, ..Registers::default() };
        let read = |address| Some(address + 5);
        assert_eq!(regs.get(RSP, read), Some(1));
        assert_eq!(regs.get(RBP, read), Some(2));
        assert_eq!(regs.get(10, read), None);
        regs.others = IN_LEAF;
        assert_eq!(regs.get(10, read), Some(77));
        regs.others = 0x1000;
        assert_eq!(regs.get(10, read), Some(0x1000 + 56 + 5));
        assert_eq!(regs.get(10, |_| None), None);
    }

    #[test]
    fn callers_are_looked_up_at_their_call() {
        let mut regs = Registers { rip: 0x1000, ..Registers::default() };
        assert_eq!(regs.lookup_address(), 0xfff);
        regs.is_exact = 1;
        assert_eq!(regs.lookup_address(), 0x1000);
    }
}
