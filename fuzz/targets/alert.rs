//! Alerts of other systems, as messages and as answers: names stay short and plain, addresses are somebody's.
#![no_main]

use sensor_alerts::{Alert, read, read_answer};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let answered = read_answer(data).unwrap_or_default();
    for alert in answered.into_iter().chain([read(data)]).flatten() {
        check(&alert);
    }
});

fn check(alert: &Alert) {
    for text in [&alert.product, &alert.what] {
        assert!(text.chars().count() <= 160 && !text.contains(char::is_control), "{alert:?}");
    }
    assert!(!alert.source.is_unspecified() && !alert.source.is_loopback(), "{alert:?}");
    assert!(alert.weight.max(alert.certainty) <= Some(100), "{alert:?}");
}
