use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::example::{EXAMPLES, Example};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn messages_of_each_product_tell_who_is_blamed_of_what() {
    for Example {
        message,
        product,
        what,
        weight,
        is_blocked,
    } in EXAMPLES
    {
        let alert = read(message.as_bytes()).unwrap_or_else(|why| panic!("{why:?}: {message}"));
        assert_eq!(
            (alert.product.as_str(), alert.what.as_str()),
            (*product, *what)
        );
        assert_eq!(alert.source, ip("198.51.100.7"), "{message}");
        let is_of_device = *product == "Darktrace";
        assert_eq!(
            alert.destination,
            (!is_of_device).then(|| ip("192.0.2.1")),
            "{message}"
        );
        assert_eq!(
            (alert.weight, alert.is_blocked),
            (*weight, *is_blocked),
            "{message}"
        );
    }
    let certain = read(EXAMPLES[0].message.as_bytes()).unwrap();
    assert_eq!(certain.certainty, Some(80));
}

#[test]
fn what_was_let_through_or_blames_nobody_is_no_alert() {
    for (message, why) in [
        (
            "sshd[1]: Accepted publickey for a from 198.51.100.7",
            Unread::Unknown,
        ),
        ("", Unread::Unknown),
        ("{\"a\":1}", Unread::Unknown),
        ("CEF:0|a|b", Unread::Broken),
        ("CEF:0|a|b|1|2|c|3|dst=192.0.2.1", Unread::NoAddress),
        (
            "%ASA-6-302013: Built inbound TCP connection 1 for outside:198.51.100.7/1",
            Unread::Harmless,
        ),
        (
            "%ASA-6-106100: access-list acl permitted tcp outside/198.51.100.7(1) -> in/192.0.2.1(2)",
            Unread::Harmless,
        ),
        (
            "%ASA-6-106015: Deny TCP (no connection) from 198.51.100.7/1 to 192.0.2.1/2 flags RST",
            Unread::Harmless,
        ),
        (
            "filterlog: 5,,,1,igb1,match,pass,in,4,0x0,,64,1,0,DF,6,tcp,60,198.51.100.7,192.0.2.1",
            Unread::Harmless,
        ),
        (
            "filterlog: 5,,,1,igb1,match,block,in,4,0x0,,64",
            Unread::Broken,
        ),
        (
            "ACCEPT IN=eth0 OUT= SRC=198.51.100.7 DST=192.0.2.1 PROTO=TCP",
            Unread::Harmless,
        ),
        (
            "devid=a logid=1 type=traffic action=accept srcip=198.51.100.7",
            Unread::Harmless,
        ),
        (
            "{\"model\":{\"name\":\"System::System\"},\"device\":{\"did\":-1}}",
            Unread::NoAddress,
        ),
        (
            "{\"threat\":0,\"certainty\":0,\"host_ip\":\"198.51.100.7\"}",
            Unread::Harmless,
        ),
        ("CEF:0|a|b|1|2|c|3|src=127.0.0.1", Unread::NoAddress),
    ] {
        assert_eq!(read(message.as_bytes()), Err(why), "{message}");
    }
}

#[test]
fn addresses_of_version_6_are_read_in_every_format() {
    let of =
        |message: &str| read(message.as_bytes()).map(|alert| (alert.source, alert.destination));
    let wanted = Ok((ip("2001:db8::7"), Some(ip("2001:db8::1"))));
    for message in [
        "%ASA-4-106023: Deny tcp src outside:2001:db8::7/40000 dst inside:2001:db8::1/22 by access-group \"a\"",
        "filterlog[1]: 5,,,1,igb1,match,block,in,6,0x00,0x0,64,TCP,6,40,2001:db8::7,2001:db8::1,40000,22",
        "drop IN=e OUT= SRC=2001:0db8:0000:0000:0000:0000:0000:0007 DST=2001:0db8::0001 LEN=60 PROTO=TCP",
        "CEF:0|a|b|1|2|c|3|c6a2=2001:db8::7 c6a3=2001:db8::1",
    ] {
        assert_eq!(of(message), wanted, "{message}");
    }
}

#[test]
fn answers_of_their_interfaces_are_lists_of_alerts() {
    let of_darktrace =
        br#"[{"model":{"then":{"name":"Anomalous"}},"device":{"ip":"198.51.100.7"},"score":1.0},
        {"model":{},"device":{}}]"#;
    let alerts = read_answer(of_darktrace).unwrap();
    assert_eq!(alerts[0].as_ref().unwrap().what, "Anomalous");
    assert_eq!(alerts[1], Err(Unread::Broken));
    let of_vectra = br#"{"count":1,"results":[{"src_ip":"198.51.100.7","detection":"Brute-Force",
        "category":"lateral","threat":80,"certainty":95}]}"#;
    let alerts = read_answer(of_vectra).unwrap();
    assert_eq!(alerts[0].as_ref().unwrap().what, "lateral, Brute-Force");
    assert_eq!(read_answer(b"{}"), Err(Unread::Unknown));
    assert_eq!(read_answer(b"[1, "), Err(Unread::Broken));
}

#[test]
fn names_are_bounded_and_hold_no_control_characters() {
    let long = format!(
        "CEF:0|a|b|1|2|{}\u{1b}[31m|3|src=198.51.100.7",
        "x".repeat(5_000)
    );
    let alert = read(long.as_bytes()).unwrap();
    assert!(alert.what.chars().count() <= 160);
    let alert = read(b"CEF:0|a\x07|b|1|2|c\x1b[31m|3|src=198.51.100.7").unwrap();
    assert!(!format!("{}{}", alert.product, alert.what).contains(char::is_control));
}

proptest! {
    #[test]
    fn damaged_messages_do_no_harm(n in 0..EXAMPLES.len(), cut in any::<u16>(), at in any::<u16>(), byte in any::<u8>()) {
        let mut message = EXAMPLES[n].message.as_bytes().to_vec();
        let place = usize::from(at) % message.len();
        message[place] = byte;
        message.truncate(usize::from(cut) % (message.len() + 1));
        let _read = read(&message);
        let _read = read_answer(&message);
    }
}
