//! Packet bytes between `data` and `data_end`.

use sensor_common::packet::Frame;

/// The linear part of a frame. Headers beyond it read as missing.
pub struct LinearFrame {
    start: usize,
    end: usize,
}

impl LinearFrame {
    #[inline(always)]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        let from = self.start + offset;
        if from + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the frame by the check above, which the verifier proves again.
        Some(unsafe { (from as *const T).read_unaligned() })
    }
}

impl Frame for LinearFrame {
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        self.at(offset)
    }
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.at::<u16>(offset).map(u16::from_be)
    }
    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        self.at(offset)
    }
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }
}
