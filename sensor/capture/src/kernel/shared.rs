//! Array maps seen through shared memory: reading costs no system call.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::{NonNull, read_volatile};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;
use sensor_common::Pod;

/// A memory-mapped `BPF_F_MMAPABLE` array of `T`.
pub struct SharedArray<T> {
    base: NonNull<u8>,
    n_entries: usize,
    /// Bytes from one entry to the next: the kernel rounds values up to eight bytes.
    stride: usize,
    n_bytes: usize,
    entry: std::marker::PhantomData<T>,
}

// SAFETY: the mapping belongs to the value alone; reads are volatile copies.
unsafe impl<T: Pod + Send> Send for SharedArray<T> {}
// SAFETY: as above; a shared value only reads, and the kernel writes meanwhile in any case.
unsafe impl<T: Pod + Sync> Sync for SharedArray<T> {}

impl<T: Pod> SharedArray<T> {
    /// Maps `n_entries` entries of the array.
    ///
    /// # Errors
    /// The kernel's, e.g. for a map without `BPF_F_MMAPABLE`.
    pub fn new(map: &MapData, n_entries: u32, writable: bool) -> Result<Self> {
        let n_entries = n_entries as usize;
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let fd = map.fd().as_fd().as_raw_fd();
        Self::map(n_entries, protection, libc::MAP_SHARED, fd)
    }

    /// An array of zeros that no kernel program sees: for tables under test.
    ///
    /// # Errors
    /// Without memory.
    pub fn unshared(n_entries: u32) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Self::map(n_entries as usize, protection, flags, -1)
    }

    fn map(n_entries: usize, protection: i32, flags: i32, fd: i32) -> Result<Self> {
        let stride = size_of::<T>().next_multiple_of(8);
        let n_bytes = (stride * n_entries).next_multiple_of(page_size());
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing else is touched.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), n_bytes, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mmap of a BPF array failed");
        }
        let Some(base) = NonNull::new(base.cast()) else {
            bail!("mmap gave a null address")
        };
        Ok(Self {
            base,
            n_entries,
            stride,
            n_bytes,
            entry: std::marker::PhantomData,
        })
    }

    pub const fn len(&self) -> usize {
        self.n_entries
    }

    pub const fn is_empty(&self) -> bool {
        self.n_entries == 0
    }

    fn entry(&self, index: usize) -> Option<NonNull<u8>> {
        // SAFETY: within the mapping, by the check.
        (index < self.n_entries).then(|| unsafe { self.base.add(index * self.stride) })
    }

    /// Place of a `U` within an entry.
    fn place<U>(&self, index: usize, offset: usize) -> Option<NonNull<U>> {
        if offset + size_of::<U>() > self.stride {
            return None;
        }
        let at = self.entry(index)?;
        // SAFETY: inside the entry, by the check.
        Some(unsafe { at.add(offset) }.cast())
    }

    /// Copies `U` at `offset` of an entry. Torn if the kernel writes meanwhile: for values at rest;
    /// [`Self::read_stable`] is for the others.
    pub fn copy<U: Pod>(&self, index: usize, offset: usize) -> Option<U> {
        let at = self.place::<U>(index, offset)?;
        // SAFETY: inside the mapping; `U` is valid for any bytes (`Pod`), and volatile keeps the
        // copy from being merged with another one.
        Some(unsafe { read_volatile(at.as_ptr()) })
    }

    /// Writes part of an entry of an array made writable; other CPUs see such writes in order.
    pub fn put<U: Pod>(&mut self, index: usize, offset: usize, value: U) {
        if let Some(at) = self.place::<U>(index, offset) {
            fence(Ordering::Release);
            // SAFETY: inside a mapping made writable by the caller of `new`.
            unsafe { at.write_volatile(value) };
        }
    }

    /// Adds to a counter that the kernel adds to as well.
    pub fn add(&mut self, index: usize, offset: usize, amount: u64) {
        if let Some(at) = self.place::<AtomicU64>(index, offset)
            && at.is_aligned()
        {
            // SAFETY: inside a mapping made writable by the caller of `new`, and aligned.
            unsafe { at.as_ref() }.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Reads an entry whole: takes what `read` copies between two reads of one even sequence
    /// number, which lies at `sequence`. `None` after `TRIES` failures, which the caller counts.
    pub fn read_stable<U>(
        &self,
        index: usize,
        sequence: usize,
        read: impl Fn(&Self) -> Option<U>,
    ) -> Option<U> {
        const TRIES: usize = 64;
        for _ in 0..TRIES {
            let before = self.copy::<u32>(index, sequence)?;
            fence(Ordering::Acquire);
            let copy = read(self)?;
            fence(Ordering::Acquire);
            let after = self.copy::<u32>(index, sequence)?;
            if sensor_common::flow::is_stable(before, after) {
                return Some(copy);
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Writes an entry of a map that only user space writes.
    pub fn write(&mut self, index: usize, value: T) {
        self.put(index, 0, value);
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the very mapping that `new` made.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.n_bytes) };
    }
}

fn page_size() -> usize {
    // SAFETY: a query without side effects.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
