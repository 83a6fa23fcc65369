//! Open files and addresses of the agent in; names out. A process of its own without any rights, because what it reads
//! was written by others: if a file makes it crash or hang, that file has no names and the agent starts another worker.

mod system_calls;
mod confine;
mod pace;
mod describe;
mod demangle;
mod expand;
mod mapped;
mod image;
mod links;
mod resident;
mod elf_symbols;
mod go_table;
mod dwarf;
mod files;
mod lines;
mod perf_map;
mod jit_dump;
mod kernel_symbols;
mod unwind_tables;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod mutation;

use std::fs::File;
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::symbolize::channel;
use crate::symbolize::wire::{
    Answer, Detail, Lookup, MAX_PACKET, Malformed, Request, Role, put_lookup, symbols_packet,
};

use self::demangle::Demangler;
use self::describe::describe;
use self::files::{Effort, Files};
use self::kernel_symbols::KernelSymbols;
use self::pace::Pace;

/// What may be spent on finding out whether a file belongs to another: reading a gigabyte for its checksum.
const ATTACH_TIME: Duration = Duration::from_secs(2);
/// What may be spent on the map of one process's JIT code.
const JIT_TIME: Duration = Duration::from_secs(2);

/// Why the worker ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input is not the agent's socket: somebody started the worker by hand.
    #[error(
        "cannot talk to the agent over standard input ({0}): the worker is started by the agent only"
    )]
    Socket(Errno),
    /// The agent said what is not in the protocol.
    #[error("cannot understand the agent: {0}")]
    Protocol(#[from] Malformed),
    /// It holds rights that it could not give up.
    #[error("cannot give up its rights: {0}")]
    Confine(#[from] confine::Error),
}

/// Serves the agent at the other end of standard input until it is gone.
pub fn run() -> Result<(), Error> {
    let stdin = stdin();
    let socket = stdin.as_fd();
    let mut buffer = vec![0; MAX_PACKET];
    let Some((Request::Hello(hello), None)) = receive(socket, &mut buffer)? else {
        return Err(Error::Protocol(Malformed("no greeting")));
    };
    let demangler = Demangler::new(hello.demangle);
    let files = Files::new(hello.resident_bytes, hello.debug_bytes, demangler);
    let ready = match confine::confine(hello) {
        Ok(confined) => {
            Answer::Ready { unprivileged: confined.unprivileged, filtered: confined.filtered }
        }
        Err(err) => {
            send(socket, &Answer::Refused { why: err.to_string() }.encode())?;
            return Err(err.into());
        }
    };
    send(socket, &ready.encode())?;
    let mut worker = Worker { socket, files, kernel: KernelSymbols::default(), demangler };
    while let Some((request, file)) = receive(socket, &mut buffer)? {
        worker.serve(request, file.map(File::from))?;
        send(socket, &Answer::Done.encode())?;
    }
    Ok(())
}

struct Worker<'a> {
    socket: BorrowedFd<'a>,
    files: Files,
    kernel: KernelSymbols,
    demangler: Demangler,
}

/// A request for a file.
struct Wanted<'a> {
    id: u32,
    detail: Detail,
    budget: Duration,
    offsets: &'a [u64],
}

impl Worker<'_> {
    fn serve(&mut self, request: Request, file: Option<File>) -> Result<(), Error> {
        match (request, file) {
            (Request::Kernel, Some(mut file)) => {
                self.kernel = KernelSymbols::read(&mut file);
                self.say(&Answer::KernelLoaded(self.kernel.text()))
            }
            (Request::KernelAddresses(addresses), None) => {
                self.answer(addresses.iter().map(|address| self.kernel.lookup(*address)))
            }
            (Request::File { id, detail, budget_ms, offsets }, Some(file)) => {
                let budget = Duration::from_millis(budget_ms.into());
                self.serve_file(&Wanted { id, detail, budget, offsets: &offsets }, file)
            }
            (Request::Attach { id, role }, Some(file)) => self.attach(id, role, file),
            (Request::PerfMap(addresses), Some(file)) => {
                let mut pace = Pace::new(self.socket, JIT_TIME);
                let names = perf_map::find(&file, &addresses, &mut || pace.go_on());
                self.answer(names.into_iter().map(|name| self.jit(name)))
            }
            (Request::JitDump(addresses), Some(file)) => {
                let mut pace = Pace::new(self.socket, JIT_TIME);
                let names = jit_dump::find(&file, &addresses, &mut || pace.go_on());
                self.answer(names.into_iter().map(|name| self.jit(name)))
            }
            (Request::Table, Some(file)) => {
                unwind_tables::answers(&file).iter().try_for_each(|answer| self.say(answer))
            }
            _ => Err(Error::Protocol(Malformed("a request without its descriptor"))),
        }
    }

    fn serve_file(&mut self, wanted: &Wanted<'_>, file: File) -> Result<(), Error> {
        // The description leaves first: should the worker die over the symbols, the agent still has addresses and build id.
        let described = describe(&file);
        let description = described.as_ref().map(|described| described.description.clone());
        self.say(&Answer::Description(description.map_err(|why| *why)))?;
        let held =
            described.ok().and_then(|described| self.files.hold(wanted.id, file, described).ok());
        let Some((links, attached)) = held else {
            return self.answer(wanted.offsets.iter().map(|_| Lookup::NoSymbols));
        };
        self.say(&Answer::Links { links, attached })?;
        if !wanted.offsets.is_empty() {
            let mut pace = Pace::new(self.socket, wanted.budget);
            let mut effort = Effort { detail: wanted.detail, pace: &mut pace };
            let names = self.files.name(wanted.id, wanted.offsets, &mut effort);
            self.answer(names.lookups.into_iter())?;
            if !names.wanted_split.is_empty() {
                self.say(&Answer::SplitWanted(names.wanted_split))?;
            }
            // Not before: the files that belong to this one may be on their way.
            self.files.trim();
        }
        Ok(())
    }

    fn attach(&mut self, id: u32, role: Role, file: File) -> Result<(), Error> {
        let mut pace = Pace::new(self.socket, ATTACH_TIME);
        let links = self.files.attach(id, role, file, &mut pace);
        self.say(&Answer::Attached(links))
    }

    fn jit(&self, functions: Option<Vec<crate::symbolize::wire::FunctionBytes>>) -> Lookup {
        let Some(mut functions) = functions else { return Lookup::Unknown };
        for function in &mut functions {
            function.name = self.demangler.demangle(&function.name);
        }
        Lookup::Functions(functions)
    }

    /// Sends lookups, many to a packet.
    fn answer(&self, lookups: impl Iterator<Item = Lookup>) -> Result<(), Error> {
        let mut packet = symbols_packet();
        let mut flushed = Instant::now();
        for lookup in lookups {
            put_lookup(&mut packet, &lookup);
            if packet.len() >= MAX_PACKET / 2 || flushed.elapsed() > pace::SIGN_OF_LIFE {
                send(self.socket, &packet)?;
                packet = symbols_packet();
                flushed = Instant::now();
            }
        }
        send(self.socket, &packet)
    }

    fn say(&self, answer: &Answer) -> Result<(), Error> {
        send(self.socket, &answer.encode())
    }
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<Option<(Request, Option<std::os::fd::OwnedFd>)>, Error> {
    let received = channel::receive(socket, buffer).map_err(Error::Socket)?;
    if received.len == 0 {
        return Ok(None);
    }
    let packet = buffer.get(..received.len).unwrap_or_default();
    Ok(Some((Request::decode(packet)?, received.file)))
}

fn send(socket: BorrowedFd<'_>, packet: &[u8]) -> Result<(), Error> {
    channel::send(socket, packet, None, SendFlags::empty()).map_err(Error::Socket)
}
