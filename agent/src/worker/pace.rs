//! How long a piece of work may take in; whether to go on out, and signs of life to the agent meanwhile.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::symbolize::channel;
use crate::symbolize::wire::symbols_packet;

/// Something leaves for the agent at the latest after this.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_millis(200);

/// Symbol tables are given this much on top.
const SHALLOW: Duration = Duration::from_secs(1);

/// The clock of one piece of work. It counts CPU time: on a busy machine work takes longer and is not less.
pub(super) struct Pace<'a> {
    socket: BorrowedFd<'a>,
    until: Duration,
    until_at_last: Duration,
    said: Instant,
}

impl<'a> Pace<'a> {
    pub(super) fn new(socket: BorrowedFd<'a>, budget: Duration) -> Self {
        let until = cpu_time() + budget;
        Self { socket, until, until_at_last: until + SHALLOW, said: Instant::now() }
    }

    /// Whether there is time left.
    pub(super) fn go_on(&mut self) -> bool {
        self.say_something();
        cpu_time() < self.until
    }

    /// From now on there is no time left.
    pub(super) fn exhaust(&mut self) {
        self.until = Duration::ZERO;
    }

    /// Whether there is time left for what must be done also when there is none for more: looking into symbol tables.
    pub(super) fn go_on_shallow(&mut self) -> bool {
        self.say_something();
        cpu_time() < self.until_at_last
    }

    fn say_something(&mut self) {
        if self.said.elapsed() > SIGN_OF_LIFE {
            self.said = Instant::now();
            // No lookups at all; if the agent is gone, the next answer tells.
            channel::send(self.socket, &symbols_packet(), None, SendFlags::empty()).ok();
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
