//! Frames that are written come back as they were.

use super::super::NgWriter;
use super::*;

#[test]
fn written_frames_come_back_with_link_stamp_and_lengths() {
    let links = [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::Loopback,
    ];
    let data: Vec<u8> = (0..61).collect();
    let mut writer = NgWriter::new(Vec::new(), "sensor", "evidence").unwrap();
    let mut wanted = Vec::new();
    for (n, link) in links.into_iter().cycle().take(10).enumerate() {
        let at_ns = 1_767_323_045_000_000_001 + n as u64;
        let data = &data[..50 + n];
        let frame = Frame {
            at_ns,
            link,
            data,
            wire_len: 1_500,
            number: n as u64 + 1,
        };
        // Comments of any length, too long ones are cut.
        writer.frame(&frame, &"ä".repeat(n * 10_000)).unwrap();
        wanted.push((at_ns, link, data.to_vec(), 1_500));
    }
    writer.flush().unwrap();
    assert_eq!(frames(&writer.to), wanted);
}
