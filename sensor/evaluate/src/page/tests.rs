use super::*;
use crate::families::Group;
use crate::score::{Detection, Moment, OddStretch, Windows};
use crate::source::Source;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_700_000_000 * SECOND_NS;

fn capture_of(seconds: u64) -> CaptureScore {
    let event = |n: u64, detection| EventScore {
        attack: format!("scan_{n} <b>"),
        group: Group::Scan,
        start_ns: START_NS + n * SECOND_NS,
        end_ns: START_NS + (n + 1) * SECOND_NS,
        n_packets: 9,
        detection,
    };
    let detection = Detection {
        delay_ns: 2 * SECOND_NS,
        share_after: 0.5,
        family: "port_scan",
        family_weight: 1.0,
        is_entity_right: true,
        n_incidents: 1,
    };
    CaptureScore {
        id: "made & named".to_owned(),
        source: Source::default(),
        content: Content::Mixed,
        n_packets: 1,
        n_flows: 1,
        n_decisions: 0,
        n_drops: 0,
        first_ns: START_NS,
        duration_ns: seconds * SECOND_NS,
        benign_ns: seconds * SECOND_NS,
        busy_ns: 1,
        events: vec![event(0, Some(detection)), event(5, None)],
        odd: vec![OddStretch {
            what: "odd".to_owned(),
            start_ns: START_NS,
            end_ns: START_NS,
            n_packets: 1,
        }],
        alarms: Vec::new(),
        windows: Windows::default(),
        moments: (0..seconds.div_ceil(10))
            .map(|i| Moment {
                start_ns: START_NS + i * 10 * SECOND_NS,
                models: 1.0,
                fused: if i == 3 { 12.0 } else { 2.0 },
            })
            .collect(),
        ranking: None,
    }
}

fn page(seconds: u64) -> String {
    html(&Evaluation {
        captures: vec![capture_of(seconds)],
        problems: vec!["a.pcap: <cut>".to_owned()],
        ..Evaluation::default()
    })
}

/// Every tag that is opened is closed, in the right order.
fn check_nesting(page: &str) {
    const VOID: [&str; 3] = ["meta", "br", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{tag}");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [] as [&str; 0]);
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
    let page = page(100);
    check_nesting(&page);
    for word in [
        "http://", "https://", "<script", "url(", "@import", "NaN", "inf\"",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("made &amp; named") && !page.contains("<b>\""));
    assert!(page.contains("a.pcap: &lt;cut&gt;"));
    assert!(page.contains("scan_5 &lt;b&gt;: missed"));
}

#[test]
fn long_captures_keep_their_peaks_and_short_ones_are_drawn() {
    // The peak lasts 10 s of ten days.
    let long = timeline::plot(&capture_of(864_000));
    let top = format!("{:.1}", 170.0 - 130.0 * 12.0 / 13.5);
    assert!(long.contains(&format!(" {top}L")), "{top} in {long}");
    assert!(long.len() < 20_000, "{} bytes", long.len());
    for seconds in [0, 1, 40] {
        let short = timeline::plot(&capture_of(seconds));
        assert!(!short.contains("NaN"), "{short}");
    }
}
