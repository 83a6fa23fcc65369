//! Bytes of any kind in; nothing out. They are looked into as the worker does, and what does not keep to a bound is a panic: the
//! door of the fuzzer (`fuzz/`) and of the tests with damaged files.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::symbolize::channel;
use crate::symbolize::wire::{
    Answer, Demangle, Detail, FunctionBytes, Lookup, MAX_FUNCTIONS, MAX_PACKET, Role, put_lookup,
    symbols_packet,
};

use super::demangle::Demangler;
use super::describe::describe;
use super::files::{Effort, Files};
use super::kernel_symbols::KernelSymbols;
use super::pace::Pace;
use super::{jit_dump, perf_map};

/// What naming one file may take; a bound that is met between two addresses only.
const BUDGET: Duration = Duration::from_millis(300);
/// Bytes that compressed sections may take, and the worker.
const DEBUG_BYTES: u64 = 16 << 20;

/// An ELF file: names the offsets, with all that the file says of itself and of others.
pub fn name_all(bytes: &[u8], offsets: &[u64]) {
    let file = file_of(bytes);
    let Ok(described) = describe(&file) else { return };
    let answer = Answer::Description(Ok(described.description.clone()));
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer), "the agent can read it");
    let (socket, _other) = channel::pair().expect("a pair of sockets can be had");
    let mut files = Files::new(u64::MAX, DEBUG_BYTES, Demangler::new(Demangle::Full));
    let again = || file.try_clone().expect("a descriptor can be doubled");
    if files.hold(1, again(), described).is_err() {
        return;
    }
    for detail in [Detail::Symbols, Detail::Debug] {
        let mut pace = Pace::new(socket.as_fd(), BUDGET);
        let mut effort = Effort { detail, pace: &mut pace };
        let names = files.name(1, offsets, &mut effort);
        assert_eq!(names.lookups.len(), offsets.len());
        names.lookups.iter().for_each(check);
        // As if it were each of the files that it names.
        for role in [Role::Debug, Role::Supplementary, Role::Package, Role::Split(1)] {
            files.attach(1, role, again(), &mut Pace::new(socket.as_fd(), BUDGET));
        }
    }
}

/// A perf map.
pub fn perf_map(bytes: &[u8], addresses: &[u64]) {
    check_all(perf_map::find(&file_of(bytes), addresses, &mut || true), addresses);
}

/// A jitdump.
pub fn jit_dump(bytes: &[u8], addresses: &[u64]) {
    check_all(jit_dump::find(&file_of(bytes), addresses, &mut || true), addresses);
}

/// `/proc/kallsyms`, which only a broken kernel would write so.
pub fn kallsyms(mut bytes: &[u8], addresses: &[u64]) {
    let symbols = KernelSymbols::read(&mut bytes);
    for address in addresses {
        check(&symbols.lookup(*address));
    }
}

/// A mangled name, in each style.
pub fn symbol_name(name: &[u8]) {
    for style in [Demangle::Full, Demangle::Templates, Demangle::Simplified, Demangle::None] {
        let readable = Demangler::new(style).demangle(name);
        assert!(readable.len() <= name.len().max(4096), "{} bytes", readable.len());
    }
}

fn check_all(found: Vec<Option<Vec<FunctionBytes>>>, addresses: &[u64]) {
    assert_eq!(found.len(), addresses.len());
    for functions in found.into_iter().flatten() {
        check(&Lookup::Functions(functions));
    }
}

/// It fits into a packet, and the agent can read it there.
fn check(lookup: &Lookup) {
    if let Lookup::Functions(functions) | Lookup::Provisional(functions) = lookup {
        assert!(!functions.is_empty(), "functions without any");
        assert!(functions.iter().all(|function| !function.name.is_empty()), "an empty name");
    }
    let mut packet = symbols_packet();
    put_lookup(&mut packet, lookup);
    assert!(packet.len() <= MAX_PACKET / 2, "{} bytes", packet.len());
    match Answer::decode(&packet) {
        Ok(Answer::Symbols(lookups)) => match lookups.as_slice() {
            [Lookup::Functions(functions) | Lookup::Provisional(functions)] => {
                assert!(functions.len() <= MAX_FUNCTIONS);
            }
            [_] => {}
            other => panic!("{} lookups", other.len()),
        },
        other => panic!("{other:?}"),
    }
}

fn file_of(bytes: &[u8]) -> File {
    let memory = memfd_create("fuzzing", MemfdFlags::CLOEXEC).expect("memory can be had");
    let mut file = File::from(memory);
    file.write_all(bytes).expect("memory can be written");
    file
}
