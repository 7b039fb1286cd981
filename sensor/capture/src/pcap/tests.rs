//! Tests on small captures written by hand.

mod damage;
mod times;
mod write;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{CaptureError, CaptureReader, Frame, LinkType, MAX_FRAME_LEN, Then, to_ethernet};

/// A file that is removed with its owner.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capture-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One outcome of reading: a frame's time, link type, bytes and wire length, or an error.
type Outcome = Result<(u64, LinkType, Vec<u8>, u32), CaptureError>;

/// Opens `bytes` as a file and reads to the end, going on behind errors.
fn read_all(bytes: &[u8]) -> Result<Vec<Outcome>, CaptureError> {
    let file = TempFile::new(bytes);
    let mut reader = CaptureReader::open(&file.0)?;
    let mut outcomes = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(f)) => outcomes.push(Ok((f.at_ns, f.link, f.data.to_vec(), f.wire_len))),
            Ok(None) => break,
            Err(error) => outcomes.push(Err(error)),
        }
    }
    assert!(
        matches!(reader.next_frame(), Ok(None)),
        "the end must stay the end"
    );
    let together = read_together(&file)?;
    assert_eq!(format!("{together:?}"), format!("{outcomes:?}"));
    Ok(outcomes)
}

/// Reads some frames at a time.
fn read_together(file: &TempFile) -> Result<Vec<Outcome>, CaptureError> {
    let mut reader = CaptureReader::open(&file.0)?;
    let mut outcomes = Vec::new();
    loop {
        match reader.next_frames() {
            Ok(frames) if frames.len() == 0 => return Ok(outcomes),
            Ok(frames) => {
                outcomes.extend(frames.map(|f| Ok((f.at_ns, f.link, f.data.to_vec(), f.wire_len))))
            }
            Err(error) => outcomes.push(Err(error)),
        }
    }
}

fn frames(bytes: &[u8]) -> Vec<(u64, LinkType, Vec<u8>, u32)> {
    read_all(bytes)
        .unwrap()
        .into_iter()
        .map(|outcome| outcome.unwrap())
        .collect()
}

/// Writes numbers in either byte order.
#[derive(Clone, Default)]
struct Writer {
    big: bool,
    out: Vec<u8>,
}

impl Writer {
    fn new(big: bool) -> Self {
        Self {
            big,
            out: Vec::new(),
        }
    }

    fn u8s(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn number(self, little: &[u8]) -> Self {
        let mut bytes = little.to_vec();
        if self.big {
            bytes.reverse();
        }
        self.u8s(&bytes)
    }

    fn u16(self, value: u16) -> Self {
        self.number(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.number(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.number(&value.to_le_bytes())
    }

    fn pcap_header(self, magic: u32, link: u32) -> Self {
        self.u32(magic)
            .u16(2)
            .u16(4)
            .u32(0)
            .u32(0)
            .u32(65535)
            .u32(link)
    }

    fn record(self, seconds: u32, fraction: u32, wire_len: u32, data: &[u8]) -> Self {
        let len = u32::try_from(data.len()).unwrap();
        self.u32(seconds)
            .u32(fraction)
            .u32(len)
            .u32(wire_len)
            .u8s(data)
    }

    fn block(self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let big = self.big;
        let mut body = body(Self::new(big)).out;
        body.resize(body.len().next_multiple_of(4), 0);
        let len = u32::try_from(body.len()).unwrap() + 12;
        self.u32(kind).u32(len).u8s(&body).u32(len)
    }

    fn section(self) -> Self {
        self.block(0x0a0d_0d0a, |w| {
            w.u32(0x1a2b_3c4d).u16(1).u16(0).u64(u64::MAX)
        })
    }

    fn interface(self, link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> Self {
        self.block(1, |w| {
            let start = w.u16(link).u16(0).u32(snap_len);
            options.iter().fold(start, |w, (code, value)| {
                let mut padded = value.to_vec();
                padded.resize(padded.len().next_multiple_of(4), 0);
                w.u16(*code)
                    .u16(u16::try_from(value.len()).unwrap())
                    .u8s(&padded)
            })
        })
    }

    fn enhanced(self, interface: u32, ticks: u64, wire_len: u32, data: &[u8]) -> Self {
        self.block(6, |w| {
            let len = u32::try_from(data.len()).unwrap();
            let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|n| u32::try_from(n).unwrap());
            w.u32(interface)
                .u32(high)
                .u32(low)
                .u32(len)
                .u32(wire_len)
                .u8s(data)
        })
    }
}

fn two_frames() -> Writer {
    Writer::new(false)
        .pcap_header(0xa1b2_c3d4, 1)
        .record(10, 20, 100, b"first")
        .record(11, 21, 6, b"second")
}

fn two_frames_read() -> Vec<(u64, LinkType, Vec<u8>, u32)> {
    vec![
        (10_000_020_000, LinkType::Ethernet, b"first".to_vec(), 100),
        (11_000_021_000, LinkType::Ethernet, b"second".to_vec(), 6),
    ]
}

#[test]
fn reads_classic_in_both_orders_and_units() {
    for big in [false, true] {
        for (magic, at_ns) in [(0xa1b2_c3d4, 10_000_020_000), (0xa1b2_3c4d, 10_000_000_020)] {
            let file = Writer::new(big)
                .pcap_header(magic, 1)
                .record(10, 20, 100, b"first");
            let expected = vec![(at_ns, LinkType::Ethernet, b"first".to_vec(), 100)];
            assert_eq!(frames(&file.out), expected, "magic {magic:x}, big {big}");
        }
    }
}

#[test]
fn reads_modified_classic() {
    let file = Writer::new(false).pcap_header(0xa1b2_cd34, 1);
    let file = file
        .u32(10)
        .u32(20)
        .u32(3)
        .u32(9)
        .u32(1)
        .u16(0x800)
        .u8s(&[0, 0])
        .u8s(b"abc");
    let expected = vec![(10_000_020_000, LinkType::Ethernet, b"abc".to_vec(), 9)];
    assert_eq!(frames(&file.out), expected);
}

#[test]
fn ignores_check_sequence_bits_of_the_link_field() {
    let file = Writer::new(true)
        .pcap_header(0xa1b2_c3d4, 0x3400_0001)
        .record(1, 0, 1, b"x");
    assert_eq!(frames(&file.out).len(), 1);
}

#[test]
fn wire_length_is_at_least_the_captured_length() {
    let file = Writer::new(false)
        .pcap_header(0xa1b2_c3d4, 1)
        .record(1, 0, 2, b"longer");
    assert_eq!(frames(&file.out)[0].3, 6);
}

#[test]
fn reads_frames_across_buffer_borders() {
    let mut file = Writer::new(false).pcap_header(0xa1b2_c3d4, 101);
    let longest = vec![0x45; MAX_FRAME_LEN as usize];
    for number in 0..11 {
        file = file
            .record(number, 0, MAX_FRAME_LEN, &longest)
            .record(number, 1, 1, &[0x45]);
    }
    let read = frames(&file.out);
    assert_eq!(read.len(), 22);
    assert!(read.iter().step_by(2).all(|frame| frame.2 == longest));
    assert!(
        read.iter()
            .skip(1)
            .step_by(2)
            .all(|frame| frame.2 == [0x45])
    );
}

#[test]
fn reports_a_cut_tail_at_every_length() {
    let whole = two_frames().out;
    let second = 24 + 16 + 5;
    for len in second + 1..whole.len() {
        let outcomes = read_all(&whole[..len]).unwrap();
        assert_eq!(outcomes.len(), 2, "cut at {len}");
        assert!(outcomes[0].is_ok());
        assert!(
            matches!(
                outcomes[1],
                Err(CaptureError::Truncated {
                    frame: 2,
                    offset: 45
                })
            ),
            "cut at {len}: {:?}",
            outcomes[1]
        );
    }
    assert_eq!(frames(&whole[..second]).len(), 1);
}

#[test]
fn reports_a_cut_file_header() {
    let whole = two_frames().out;
    for len in 0..24 {
        let error = read_all(&whole[..len]).unwrap_err();
        assert!(
            matches!(
                error,
                CaptureError::Truncated {
                    frame: 0,
                    offset: 0
                }
            ),
            "cut at {len}"
        );
    }
}

#[test]
fn refuses_other_files() {
    let error = read_all(b"#!/bin/sh\n").unwrap_err();
    assert!(
        matches!(error, CaptureError::NotACapture { magic: 0x2321_2f62 }),
        "{error:?}"
    );
    let file = Writer::new(false).u32(0xa1b2_c3d4).u16(9).u8s(&[0; 30]).out;
    assert!(matches!(
        read_all(&file),
        Err(CaptureError::Corrupt {
            frame: 0,
            offset: 4,
            ..
        })
    ));
    let missing = CaptureReader::open(&std::env::temp_dir().join("no such capture"));
    assert!(matches!(missing, Err(CaptureError::Io(_))));
    assert!(read_all(&[]).is_err());
    let directory = CaptureReader::open(&std::env::temp_dir());
    assert!(matches!(directory, Err(CaptureError::Io(_))));
}

#[test]
fn refuses_frames_longer_than_the_limit() {
    let file = two_frames()
        .u32(0)
        .u32(0)
        .u32(MAX_FRAME_LEN + 1)
        .u32(0)
        .u8s(&[0; 100]);
    let outcomes = read_all(&file.out).unwrap();
    assert_eq!(outcomes.len(), 3);
    assert!(matches!(
        outcomes[2],
        Err(CaptureError::Corrupt {
            frame: 3,
            offset: 67,
            ..
        })
    ));
}

#[test]
fn reports_an_unsupported_link_once_and_counts_its_frames() {
    let file = Writer::new(false).pcap_header(0xa1b2_c3d4, 105);
    let file = TempFile::new(&file.record(1, 0, 1, b"a").record(2, 0, 1, b"b").out);
    let mut reader = CaptureReader::open(&file.0).unwrap();
    let error = reader.next_frame().unwrap_err();
    assert!(matches!(
        error,
        CaptureError::UnsupportedLink {
            frame: 1,
            link: 105,
            offset: 24
        }
    ));
    assert!(matches!(reader.next_frame(), Ok(None)));
    assert_eq!((reader.n_frames(), reader.n_skipped()), (0, 2));
}

#[test]
fn numbers_count_frames_that_are_passed_over() {
    let file = Writer::new(false).section();
    let file = file.interface(105, 0, &[]).interface(1, 0, &[]);
    let file = file.enhanced(1, 1, 1, b"a").enhanced(0, 2, 1, b"b");
    let file = TempFile::new(&file.enhanced(0, 3, 1, b"c").enhanced(1, 4, 1, b"d").out);
    let mut reader = CaptureReader::open(&file.0).unwrap();
    // Frames of one interface wait for those of the other: the fault is told first.
    let error = reader.next_frame().unwrap_err();
    assert!(matches!(
        error,
        CaptureError::UnsupportedLink { frame: 2, .. }
    ));
    assert_eq!(reader.next_frame().unwrap().map(|f| f.number), Some(1));
    assert_eq!(reader.next_frame().unwrap().map(|f| f.number), Some(4));
}

#[test]
fn reads_compressed_captures() {
    let plain = two_frames().out;
    let half = plain.len() / 2;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    // Both formats may be a row of independent parts.
    for parts in [vec![&plain[..]], vec![&plain[..half], &plain[half..]]] {
        let gzip_file: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
        let zstd_file: Vec<u8> = parts.iter().flat_map(|part| zstd(part)).collect();
        assert_eq!(frames(&gzip_file), two_frames_read());
        assert_eq!(frames(&zstd_file), two_frames_read());
    }
    let mut skippable = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    skippable.extend(zstd(&plain));
    assert_eq!(frames(&skippable), two_frames_read());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn reports_cut_compressed_data() {
    let plain = two_frames().out;
    for packed in [gzip(&plain), zstd::encode_all(&plain[..], 3).unwrap()] {
        for len in 4..packed.len() {
            let errors = match read_all(&packed[..len]) {
                Ok(outcomes) => outcomes.into_iter().filter_map(Result::err).collect(),
                Err(error) => vec![error],
            };
            assert!(
                matches!(errors[..], [CaptureError::Truncated { .. }]),
                "cut at {len}: {errors:?}"
            );
        }
    }
}

#[test]
fn reports_damaged_compressed_data() {
    let mut noise = 1_u32;
    let mut file = Writer::new(false).pcap_header(0xa1b2_c3d4, 1);
    for second in 0..5000 {
        let data: Vec<u8> = (0..100)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_le_bytes()[3]
            })
            .collect();
        file = file.record(second, 0, 100, &data);
    }
    let mut gzipped = gzip(&file.out);
    let checksum_at = gzipped.len() - 8;
    gzipped[checksum_at] ^= 0xff;
    let outcomes = read_all(&gzipped).unwrap();
    let whole = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(whole, 5000);
    assert!(matches!(
        outcomes.last(),
        Some(Err(CaptureError::Corrupt { frame: 5001, .. }))
    ));
}

#[test]
fn progress_ends_at_the_file_size() {
    let plain = two_frames().out;
    for bytes in [
        plain.clone(),
        gzip(&plain),
        zstd::encode_all(&plain[..], 3).unwrap(),
    ] {
        let file = TempFile::new(&bytes);
        let mut reader = CaptureReader::open(&file.0).unwrap();
        while reader.next_frame().unwrap().is_some() {}
        let size = bytes.len() as u64;
        assert_eq!(reader.progress(), (size, size));
        assert_eq!(reader.n_frames(), 2);
    }
}

#[test]
fn reads_pcapng_blocks_in_both_orders() {
    for big in [false, true] {
        let file = Writer::new(big)
            .section()
            .interface(1, 4, &[(2, b"eth0")])
            .enhanced(0, 0x1_0000_0002, 60, b"enhanced")
            .block(3, |w| w.u32(6).u8s(b"simp"))
            .block(0x0bad, |w| w.u8s(&[7; 40]))
            .block(2, |w| {
                w.u16(0).u16(9).u32(1).u32(3).u32(3).u32(70).u8s(b"old")
            });
        let link = LinkType::Ethernet;
        let first_ns = 0x1_0000_0002 * 1000;
        let expected = vec![
            (first_ns, link, b"enhanced".to_vec(), 60),
            (first_ns, link, b"simp".to_vec(), 6),
            (first_ns + 1000, link, b"old".to_vec(), 70),
        ];
        assert_eq!(frames(&file.out), expected, "big {big}");
    }
}

#[test]
fn reads_pcapng_clocks() {
    let cases: [(u8, u64, u64); 8] = [
        (0, 5, 5_000_000_000),
        (3, 5, 5_000_000),
        (6, 5, 5000),
        (9, 5, 5),
        (12, 5000, 5),
        (127, u64::MAX, 1),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 127, u64::MAX, 0),
    ];
    for (resolution, ticks, at_ns) in cases {
        let file = Writer::new(false)
            .section()
            .interface(1, 0, &[(9, &[resolution])]);
        let file = file.enhanced(0, ticks, 1, b"x");
        assert_eq!(frames(&file.out)[0].0, at_ns, "resolution {resolution}");
    }
}

#[test]
fn applies_pcapng_time_offsets() {
    for (offset, at_ns) in [(100_i64, 102_000_000_000), (-1, 1_000_000_000), (-9, 0)] {
        for big in [false, true] {
            let bytes = if big {
                offset.to_be_bytes()
            } else {
                offset.to_le_bytes()
            };
            let file = Writer::new(big)
                .section()
                .interface(1, 0, &[(14, &bytes), (0, &[])]);
            let file = file.enhanced(0, 2_000_000, 1, b"x");
            assert_eq!(frames(&file.out)[0].0, at_ns, "offset {offset}");
        }
    }
}

#[test]
fn sections_have_their_own_interfaces_and_order() {
    let first = Writer::new(false)
        .section()
        .interface(1, 0, &[])
        .interface(101, 0, &[]);
    let first = first.enhanced(1, 1, 1, b"E").enhanced(0, 2, 1, b"x");
    let second = Writer::new(true)
        .section()
        .interface(113, 0, &[])
        .enhanced(0, 3, 1, b"c");
    let file = [first.out, second.out].concat();
    let links: Vec<LinkType> = frames(&file).iter().map(|frame| frame.1).collect();
    assert_eq!(
        links,
        [LinkType::RawIp, LinkType::Ethernet, LinkType::LinuxCooked]
    );
}

#[test]
fn reports_each_unsupported_pcapng_interface_once() {
    let file = Writer::new(false)
        .section()
        .interface(1, 0, &[])
        .interface(105, 0, &[])
        .interface(9, 0, &[])
        .enhanced(1, 0, 1, b"a")
        .enhanced(0, 0, 1, b"b")
        .enhanced(1, 0, 1, b"c")
        .enhanced(2, 0, 1, b"d");
    let outcomes = read_all(&file.out).unwrap();
    assert_eq!(outcomes.len(), 3);
    assert!(matches!(
        outcomes[0],
        Err(CaptureError::UnsupportedLink { link: 105, .. })
    ));
    assert!(matches!(
        outcomes[1],
        Err(CaptureError::UnsupportedLink { link: 9, .. })
    ));
    assert!(outcomes[2].is_ok());
}

#[test]
fn steps_over_a_bad_pcapng_frame() {
    let bad: [Writer; 4] = [
        Writer::new(false).enhanced(7, 0, 1, b"unknown interface"),
        Writer::new(false).block(6, |w| w.u32(0).u64(0).u32(9).u32(9).u8s(b"short")),
        Writer::new(false).block(6, |w| w.u32(0)),
        Writer::new(false).block(3, |w| w),
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let file = Writer::new(false)
            .section()
            .interface(1, 0, &[])
            .enhanced(0, 0, 1, b"a");
        let file = file.u8s(&bad.out).enhanced(0, 0, 1, b"b");
        let outcomes = read_all(&file.out).unwrap();
        assert_eq!(outcomes.len(), 3, "case {number}");
        let error = outcomes[1].as_ref().unwrap_err();
        assert!(
            matches!(error, CaptureError::Corrupt { frame: 2, .. }),
            "case {number}"
        );
        assert!(outcomes[2].is_ok(), "case {number}");
    }
}

#[test]
fn stops_where_pcapng_framing_is_lost() {
    let good = Writer::new(false)
        .section()
        .interface(1, 0, &[])
        .enhanced(0, 0, 1, b"a");
    let mut wrong_trailer = good.clone().enhanced(0, 0, 1, b"b").out;
    let trailer_at = wrong_trailer.len() - 4;
    wrong_trailer[trailer_at] ^= 8;
    let bad = [
        good.clone().u32(6).u32(0).out,
        good.clone().u32(6).u32(33).u8s(&[0; 40]).out,
        good.clone().block(0x0a0d_0d0a, |w| w.u64(0).u64(0)).out,
        good.clone()
            .block(0x0a0d_0d0a, |w| w.u32(0x1a2b_3c4d).u32(9).u64(0))
            .out,
        good.clone().block(1, |w| w).out,
        wrong_trailer,
    ];
    for (number, file) in bad.iter().enumerate() {
        let outcomes = read_all(file).unwrap();
        assert_eq!(outcomes.len(), 2, "case {number}: {outcomes:?}");
        let error = outcomes[1].as_ref().unwrap_err();
        assert!(
            matches!(error, CaptureError::Corrupt { frame: 2, .. }),
            "case {number}: {error}"
        );
    }
}

#[test]
fn reports_a_cut_pcapng_tail() {
    let good = Writer::new(false)
        .section()
        .interface(1, 0, &[])
        .enhanced(0, 0, 1, b"a");
    let start = good.out.len();
    let whole = good.enhanced(0, 0, 1, b"bcd").out;
    for len in start + 1..whole.len() {
        let outcomes = read_all(&whole[..len]).unwrap();
        assert!(
            matches!(
                outcomes[..],
                [Ok(_), Err(CaptureError::Truncated { frame: 2, offset })] if offset == start as u64
            ),
            "cut at {len}: {outcomes:?}"
        );
    }
}

#[test]
fn skips_blocks_longer_than_the_buffer() {
    let file = Writer::new(false)
        .section()
        .block(10, |w| w.u8s(&vec![0; 3 << 20]))
        .interface(1, 0, &[])
        .enhanced(0, 0, 1, b"a");
    assert_eq!(frames(&file.out).len(), 1);
    let cut = file.out.get(..2 << 20).unwrap();
    let outcomes = read_all(cut).unwrap();
    assert!(matches!(
        outcomes[..],
        [Err(CaptureError::Truncated {
            frame: 1,
            offset: 28
        })]
    ));
}

/// Every single-byte change of a small file must end, in whatever way, without a panic.
#[test]
fn survives_any_changed_byte() {
    let ng = Writer::new(false)
        .section()
        .interface(1, 0, &[(9, &[9]), (14, &[0; 8])])
        .enhanced(0, 0, 1, b"a")
        .block(3, |w| w.u32(1).u8s(b"s"));
    for whole in [two_frames().out, ng.out] {
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(outcomes) = read_all(&changed) {
                    assert!(outcomes.len() <= 4);
                }
            }
        }
    }
}

/// The Ethernet form of a frame, with the corrected wire length and the bytes added.
fn ethernet(link: LinkType, data: &[u8]) -> (Vec<u8>, u32, i32) {
    let wire_len = u32::try_from(data.len()).unwrap() + 100;
    let frame = Frame {
        at_ns: 0,
        link,
        data,
        wire_len,
        number: 1,
    };
    let mut scratch = vec![9; 3];
    let made = to_ethernet(&frame, &mut scratch);
    (made.data.to_vec(), made.wire_len, made.added)
}

fn header(source: [u8; 6], ethertype: u16) -> Vec<u8> {
    [&[0; 6][..], &source, &ethertype.to_be_bytes()].concat()
}

#[test]
fn passes_ethernet_through_without_copying() {
    let data = [1, 2, 3];
    let frame = Frame {
        at_ns: 0,
        link: LinkType::Ethernet,
        data: &data,
        wire_len: 60,
        number: 1,
    };
    let mut scratch = Vec::new();
    let made = to_ethernet(&frame, &mut scratch);
    assert!(std::ptr::eq(made.data, &raw const data[..]));
    assert_eq!((made.wire_len, made.added), (60, 0));
}

#[test]
fn gives_raw_ip_an_ethernet_header() {
    for (first, ethertype) in [(0x45, 0x0800), (0x60, 0x86dd), (0x10, 0xffff)] {
        let expected = [header([0; 6], ethertype), vec![first, 1, 2]].concat();
        assert_eq!(
            ethernet(LinkType::RawIp, &[first, 1, 2]),
            (expected, 117, 14)
        );
    }
    assert_eq!(ethernet(LinkType::RawIp, &[]).0, header([0; 6], 0xffff));
}

#[test]
fn gives_cooked_frames_an_ethernet_header() {
    let mac = [2, 3, 4, 5, 6, 7];
    let v1 = |len: u8, protocol: u16| {
        let data = [
            &[0, 0, 0, 1, 0, len][..],
            &mac,
            &[0, 0],
            &protocol.to_be_bytes(),
            b"ip",
        ];
        ethernet(LinkType::LinuxCooked, &data.concat())
    };
    let v2 = |len: u8, protocol: u16| {
        let fixed = [0, 0, 0, 0, 0, 1, 0, 1, 0, len];
        let data = [&protocol.to_be_bytes()[..], &fixed, &mac, &[0, 0], b"ip"];
        ethernet(LinkType::LinuxCooked2, &data.concat())
    };
    let expected = |mac, protocol| [header(mac, protocol), b"ip".to_vec()].concat();
    assert_eq!(v1(6, 0x86dd), (expected(mac, 0x86dd), 116, -2));
    assert_eq!(v1(0, 0x0800), (expected([0; 6], 0x0800), 116, -2));
    assert_eq!(v2(6, 0x0806), (expected(mac, 0x0806), 116, -6));
    assert_eq!(v2(8, 0x0800), (expected([0; 6], 0x0800), 116, -6));
    // An 802.2 frame gets its length where the type would be.
    assert_eq!(v1(6, 4).0, expected(mac, 2));
}

#[test]
fn gives_loopback_frames_an_ethernet_header() {
    for (family, ethertype) in [(2_u32, 0x0800), (10, 0x86dd), (24, 0x86dd), (30, 0x86dd)] {
        for bytes in [family.to_le_bytes(), family.to_be_bytes()] {
            let data = [&bytes[..], b"ip"].concat();
            let expected = [header([0; 6], ethertype), b"ip".to_vec()].concat();
            assert_eq!(ethernet(LinkType::Loopback, &data), (expected, 116, 10));
        }
    }
}

#[test]
fn short_frames_get_a_header_and_no_payload() {
    for link in [
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::Loopback,
    ] {
        assert_eq!(ethernet(link, &[1, 2]).0, header([0; 6], 0xffff));
    }
}

#[test]
fn messages_are_lower_case_and_name_place_and_remedy() {
    let cases = [
        (
            CaptureError::NotACapture { magic: 0xcafe },
            "0x0000cafe",
            "give a pcap",
        ),
        (
            CaptureError::UnsupportedLink {
                frame: 3,
                link: 105,
                offset: 24,
            },
            "frame 3 at byte 24",
            "capture on",
        ),
        (
            CaptureError::Truncated {
                frame: 7,
                offset: 99,
            },
            "frame 7 at byte 99",
            "copy",
        ),
        (
            CaptureError::Truncated {
                frame: 0,
                offset: 0,
            },
            "the file header",
            "copy",
        ),
        (
            CaptureError::Corrupt {
                frame: 7,
                offset: 99,
                what: "x",
                then: Then::Stop,
            },
            "frame 7 at byte 99",
            "copy",
        ),
    ];
    for (error, place, remedy) in cases {
        let text = error.to_string();
        assert!(text.contains(place) && text.contains(remedy), "{text}");
        assert!(text.starts_with(char::is_lowercase), "{text}");
    }
}

#[test]
fn reader_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<CaptureReader>();
}
