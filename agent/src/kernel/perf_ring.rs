//! The ring in which the kernel leaves a perf event's records. Layout: `struct perf_event_mmap_page` in
//! `include/uapi/linux/perf_event.h`.
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use perf_event_open_sys::bindings::perf_event_mmap_page;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Pages of data of a ring, a power of two: enough for a fifth of a second of execs at full speed.
const DATA_PAGES: usize = 64;

/// A perf event with its ring mapped.
pub(super) struct PerfRing {
    event: OwnedFd,
    page: NonNull<perf_event_mmap_page>,
    page_len: usize,
    record: Vec<u8>,
}

// SAFETY: the mapping belongs to this value alone; nothing in it is bound to a thread.
unsafe impl Send for PerfRing {}

impl PerfRing {
    /// Maps the ring of an event.
    pub(super) fn new(event: OwnedFd) -> io::Result<Self> {
        let page_len = rustix::param::page_size();
        let len = page_len * (1 + DATA_PAGES);
        // SAFETY: a new shared mapping of a perf event, of one page and a power of two of pages as the kernel asks.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &event,
                0,
            )
        }?;
        let page = NonNull::new(base.cast())
            .ok_or_else(|| io::Error::other("the ring is mapped at address 0"))?;
        Ok(Self { event, page, page_len, record: Vec::new() })
    }

    /// Hands over all whole records, oldest first, each with its header.
    pub(super) fn drain(&mut self, take: &mut impl FnMut(&[u8])) {
        let (head, mut tail) = (self.head(), self.tail().load(Ordering::Relaxed));
        let mut record = std::mem::take(&mut self.record);
        while head.wrapping_sub(tail) >= 8 {
            record.clear();
            self.copy(tail, 8, &mut record);
            // `struct perf_event_header`: type u32, misc u16, size u16.
            let size = record.get(6..8).map_or(0, |size| u16::from_ne_bytes([size[0], size[1]]));
            if size < 8 || u64::from(size) > head.wrapping_sub(tail) {
                tail = head;
                break;
            }
            self.copy(tail.wrapping_add(8), usize::from(size) - 8, &mut record);
            take(&record);
            tail = tail.wrapping_add(u64::from(size));
        }
        self.record = record;
        self.tail().store(tail, Ordering::Release);
    }

    fn head(&self) -> u64 {
        let head = self.at::<u64>(offset_of!(perf_event_mmap_page, data_head));
        // SAFETY: within the first page, mapped as long as this value lives; volatile, since the kernel writes it.
        let head = unsafe { head.read_volatile() };
        fence(Ordering::Acquire);
        head
    }

    fn tail(&self) -> &AtomicU64 {
        let tail = self.at::<u64>(offset_of!(perf_event_mmap_page, data_tail));
        // SAFETY: as in `head`; 8 bytes, aligned, and only this side writes them.
        unsafe { AtomicU64::from_ptr(tail) }
    }

    /// A place in the mapping, `offset` bytes from its start.
    fn at<T>(&self, offset: usize) -> *mut T {
        self.page.as_ptr().wrapping_byte_add(offset).cast::<T>()
    }

    /// Copies `len` bytes from position `at`, which may wrap.
    fn copy(&self, at: u64, len: usize, to: &mut Vec<u8>) {
        let data_len = self.page_len * DATA_PAGES;
        let start = (at % data_len as u64) as usize;
        let first = len.min(data_len - start);
        for (offset, len) in [(start, first), (0, len - first)] {
            let data = self.at::<u8>(self.page_len + offset);
            // SAFETY: within the data pages, which follow the first page; the kernel does not write between tail and head.
            let bytes = unsafe { std::slice::from_raw_parts(data, len) };
            to.extend_from_slice(bytes);
        }
    }
}

impl AsFd for PerfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        let len = self.page_len * (1 + DATA_PAGES);
        // SAFETY: the mapping of `new`, which nothing refers to any more.
        let unmapped = unsafe { munmap(self.page.as_ptr().cast(), len) };
        if let Err(error) = unmapped {
            tracing::debug!(%error, "cannot unmap a perf ring");
        }
    }
}
