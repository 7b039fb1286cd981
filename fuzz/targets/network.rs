//! Files of networks: whatever is taken runs, and answers as many numbers as it says.
#![no_main]

use sensor_networks::{Network, Plan};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(network) = Network::read(data) else {
        return;
    };
    let Ok(mut plan) = Plan::new(&network, 2) else {
        return;
    };
    let rows = vec![0.25; plan.row_len() * 2];
    let wanted = plan.answer_len() * 2;
    assert_eq!(plan.run(&rows).len(), wanted);
});
