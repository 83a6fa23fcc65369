//! What the kernel said of a stack, made true for the moment of the sample: addresses that it could not place are placed by
//! the process's mappings, and places that it took from a list that was out of date are placed anew.

use agent_common::frame::{FrameKind, RawFrame};

use crate::process::Mappings;

/// A frame whose place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PlacedFrame {
    Kernel { address: u64 },
    Native { executable: u32, offset: u64 },
    Anonymous { address: u64 },
    Cut { n_frames: u64 },
    Malformed,
}

/// Which mappings the kernel looked a stack up in, as seen from the moment of the sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum LookedUpIn<'a> {
    /// In those that were valid.
    Current,
    /// In none.
    Nothing,
    /// In these, which were out of date.
    Outdated(&'a Mappings),
    /// In a list that is not known any more: what it says is believed.
    Forgotten,
}

/// Places one frame.
pub(super) fn place(
    frame: &RawFrame,
    looked_up_in: LookedUpIn<'_>,
    mappings: &Mappings,
) -> PlacedFrame {
    let address = frame.address;
    match (frame.kind(), looked_up_in) {
        (Some(FrameKind::Kernel), _) => PlacedFrame::Kernel { address },
        (Some(FrameKind::Address), _) => place_address(address, mappings),
        (Some(FrameKind::Native), LookedUpIn::Outdated(list)) => {
            match list.address_of(frame.executable, frame.address) {
                Some(address) => place_address(address, mappings),
                None => PlacedFrame::Native { executable: frame.executable, offset: address },
            }
        }
        (Some(FrameKind::Native), _) => {
            PlacedFrame::Native { executable: frame.executable, offset: address }
        }
        (Some(FrameKind::Cut), _) => PlacedFrame::Cut { n_frames: address },
        (Some(FrameKind::Interpreter | FrameKind::Jit) | None, _) => PlacedFrame::Malformed,
    }
}

fn place_address(address: u64, mappings: &Mappings) -> PlacedFrame {
    match mappings.find(address) {
        Some(mapping) if mapping.executable != 0 => PlacedFrame::Native {
            executable: mapping.executable,
            offset: mapping.offset_of(address),
        },
        _ => PlacedFrame::Anonymous { address },
    }
}
