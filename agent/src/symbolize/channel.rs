//! A packet and perhaps a file descriptor in at one end of a socket; the same out at the other.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// A packet as it arrived.
pub struct Received {
    /// Length of the packet in the caller's buffer; 0 when the other end is gone.
    pub len: usize,
    /// The descriptor that came with it.
    pub file: Option<OwnedFd>,
}

/// Two ends that keep packets apart; both are closed on exec.
pub fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a packet with at most one descriptor. `flags` may say not to block.
pub fn send(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    file: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> rustix::io::Result<()> {
    let files = file.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(files));
        debug_assert!(fits, "the space is for one descriptor");
    }
    retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(packet)], &mut control, flags | SendFlags::NOSIGNAL)
    })
    .map(drop)
}

/// Receives a packet into `buffer` (of the longest packet's size), waiting for ever.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> rustix::io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok(Received { len: message.bytes, file })
}

/// Waits until something can be received (or the other end is gone); false when `until` passes first.
pub fn wait_readable(socket: BorrowedFd<'_>, until: Instant) -> rustix::io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(err) => return Err(err),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::{pair, receive, send, wait_readable};
    use crate::symbolize::wire::MAX_PACKET;
    use rustix::net::SendFlags;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn a_packet_and_its_descriptor_arrive() {
        let (here, there) = pair().unwrap();
        let file = File::open("/proc/self/comm").unwrap();
        send(here.as_fd(), b"hello", Some(file.as_fd()), SendFlags::empty()).unwrap();
        send(here.as_fd(), b"second", None, SendFlags::empty()).unwrap();
        let mut buffer = vec![0; MAX_PACKET];
        let first = receive(there.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..first.len], b"hello");
        let mut text = String::new();
        File::from(first.file.unwrap()).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        let second = receive(there.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..second.len], second.file.is_some()), (&b"second"[..], false));
    }

    #[test]
    fn silence_ends_at_the_deadline_and_death_before_it() {
        let (here, there) = pair().unwrap();
        let started = Instant::now();
        assert!(!wait_readable(here.as_fd(), started + Duration::from_millis(30)).unwrap());
        assert!(started.elapsed() >= Duration::from_millis(30));
        drop(there);
        assert!(wait_readable(here.as_fd(), Instant::now() + Duration::from_mins(1)).unwrap());
        assert_eq!(receive(here.as_fd(), &mut vec![0; MAX_PACKET]).unwrap().len, 0);
    }
}
