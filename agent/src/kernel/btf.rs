//! One question to the kernel's own type information (BTF): where a struct has a member. Only asked on kernels that lack
//! the helper `bpf_task_pt_regs`. Layout: `include/uapi/linux/btf.h`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

/// Kinds of types, and how many bytes follow each type's header.
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_INT: u32 = 1;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Byte offset of `member` in `struct name`; `None` when there is none, it is a bit field, or the data is damaged.
pub(super) fn member_offset(btf: &[u8], name: &str, member: &str) -> Option<u64> {
    if u16_at(btf, 0)? != 0xeb9f {
        return None;
    }
    let header_len = u32_at(btf, 4)? as usize;
    let section = |offset_at: usize| -> Option<&[u8]> {
        let start = header_len.checked_add(u32_at(btf, offset_at)? as usize)?;
        let len = u32_at(btf, offset_at.checked_add(4)?)? as usize;
        btf.get(start..start.checked_add(len)?)
    };
    let (types, strings) = (section(8)?, section(16)?);
    let mut at = 0usize;
    while at < types.len() {
        let info = u32_at(types, at.checked_add(4)?)?;
        let (kind, n_members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let body = at.checked_add(12)?;
        if kind == KIND_STRUCT && string_at(strings, u32_at(types, at)?)? == name.as_bytes() {
            return find_member(types, strings, body, n_members, info >> 31 == 1, member);
        }
        at = body.checked_add(body_len(kind, n_members)?)?;
    }
    None
}

fn find_member(
    types: &[u8],
    strings: &[u8],
    body: usize,
    n: usize,
    bit_fields: bool,
    name: &str,
) -> Option<u64> {
    for i in 0..n {
        let at = body.checked_add(i.checked_mul(12)?)?;
        if string_at(strings, u32_at(types, at)?)? == name.as_bytes() {
            let offset = u32_at(types, at.checked_add(8)?)?;
            // With bit fields in the struct the upper byte is the field's width.
            let bits = if bit_fields { offset & 0x00ff_ffff } else { offset };
            return (bits % 8 == 0).then_some(u64::from(bits / 8));
        }
    }
    None
}

fn body_len(kind: u32, n: usize) -> Option<usize> {
    match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => Some(4),
        KIND_ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => n.checked_mul(12),
        KIND_ENUM | KIND_FUNC_PROTO => n.checked_mul(8),
        _ => Some(0),
    }
}

fn string_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings.get(offset as usize..)?.split(|&byte| byte == 0).next()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::member_offset;

    #[test]
    fn damaged_data_is_a_miss() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("SKIPPED: this kernel has no BTF");
            return;
        };
        let offset = member_offset(&btf, "task_struct", "stack")
            .expect("every kernel has task_struct.stack");
        assert!(offset > 0 && offset < 4096 && offset.is_multiple_of(8), "{offset}");
        assert_eq!(member_offset(&btf, "task_struct", "no such member"), None);
        for len in [0, 3, 8, 23, 24, 100, btf.len() / 2] {
            assert_eq!(member_offset(&btf[..len], "no such struct", "stack"), None);
        }
    }
}
