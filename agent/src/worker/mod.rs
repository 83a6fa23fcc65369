//! Open files and addresses of the agent in; names out. A process of its own without any rights, because what it reads
//! was written by others: if a file makes it crash or hang, that file has no names and the agent starts another worker.

mod system_calls;
mod confine;
mod describe;
mod demangle;
mod elf_symbols;
mod kernel_symbols;
mod mapped;
mod unwind_tables;

use std::fs::File;
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::symbolize::channel;
use crate::symbolize::wire::{
    Answer, Detail, Lookup, MAX_PACKET, Malformed, Request, put_lookup, symbols_packet,
};

use self::describe::describe;
use self::elf_symbols::ElfSymbols;
use self::kernel_symbols::KernelSymbols;

/// Answers leave at the latest after this, as a sign of life.
const FLUSH_TIME: Duration = Duration::from_millis(200);

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
    let mut elf = ElfSymbols::new(hello.resident_bytes);
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
    serve(socket, &mut elf, hello.debug_bytes, &mut buffer)
}

fn serve(
    socket: BorrowedFd<'_>,
    elf: &mut ElfSymbols,
    debug_bytes: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let mut kernel = KernelSymbols::default();
    while let Some((request, file)) = receive(socket, buffer)? {
        match (request, file) {
            (Request::Kernel, Some(file)) => {
                kernel = KernelSymbols::read(&mut File::from(file));
                send(socket, &Answer::KernelLoaded(kernel.text()).encode())?;
            }
            (Request::KernelAddresses(addresses), None) => {
                answer(socket, addresses.iter().map(|address| kernel.lookup(*address)))?;
            }
            (Request::File { id, detail, offsets }, Some(file)) => {
                let file = File::from(file);
                let wanted = Wanted { id, detail, offsets: &offsets };
                serve_file(socket, elf, debug_bytes, &wanted, file)?;
            }
            (Request::Table, Some(file)) => {
                for answer in unwind_tables::answers(&File::from(file)) {
                    send(socket, &answer.encode())?;
                }
            }
            _ => return Err(Error::Protocol(Malformed("a request without its descriptor"))),
        }
        send(socket, &Answer::Done.encode())?;
    }
    Ok(())
}

/// A request for a file.
struct Wanted<'a> {
    id: u32,
    detail: Detail,
    offsets: &'a [u64],
}

fn serve_file(
    socket: BorrowedFd<'_>,
    elf: &mut ElfSymbols,
    debug_bytes: u64,
    wanted: &Wanted<'_>,
    file: File,
) -> Result<(), Error> {
    let described = describe(&file);
    // The description leaves first: should the worker die over the symbols, the agent still has addresses and build id.
    let (description, debug_size) = match described {
        Ok(described) => (Ok(described.description), described.debug_bytes),
        Err(why) => (Err(why), 0),
    };
    let is_described = description.is_ok();
    send(socket, &Answer::Description(description).encode())?;
    if !is_described {
        return answer(socket, wanted.offsets.iter().map(|_| Lookup::NoSymbols));
    }
    let detail = if debug_size > debug_bytes { Detail::Symbols } else { wanted.detail };
    match elf.hold(wanted.id, file) {
        Ok(()) => answer(
            socket,
            wanted.offsets.iter().map(|offset| elf.lookup(wanted.id, *offset, detail)),
        )?,
        Err(_) => answer(socket, wanted.offsets.iter().map(|_| Lookup::NoSymbols))?,
    }
    elf.trim();
    Ok(())
}

/// Sends lookups, many to a packet.
fn answer(socket: BorrowedFd<'_>, lookups: impl Iterator<Item = Lookup>) -> Result<(), Error> {
    let mut packet = symbols_packet();
    let mut flushed = Instant::now();
    for lookup in lookups {
        put_lookup(&mut packet, &lookup);
        if packet.len() >= MAX_PACKET / 2 || flushed.elapsed() > FLUSH_TIME {
            send(socket, &packet)?;
            packet = symbols_packet();
            flushed = Instant::now();
        }
    }
    send(socket, &packet)
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
