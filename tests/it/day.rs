//! A day of event time through the program: what memory it holds at each full hour, and that
//! nothing but the capture decides what it says.

use std::process::Command;

use sensor_tests::day::replay_day;
use sensor_tests::{binary, run, shared_data};

/// Memory at each hour does not grow once the tables are filled.
#[track_caller]
fn assert_flat(bytes: &[u64], n_warm_up: usize) {
    let megabytes: Vec<u64> = bytes.iter().map(|n| n >> 20).collect();
    println!("MiB by hour: {megabytes:?}");
    let (warm_up, rest) = bytes.split_at(n_warm_up);
    let before = warm_up.iter().max().unwrap();
    let after = rest.iter().max().unwrap();
    assert!(*after < before + (8 << 20), "grows: {megabytes:?}");
}

#[test]
fn memory_stays_flat_over_a_day() {
    let (bytes, text) = replay_day(20).unwrap();
    assert!(text.contains("\"summary\""), "{text}");
    assert_flat(&bytes, 6);
}

/// Fields that tell how long something took.
const TIMES: [&str; 4] = ["wall_time_s", "busy_s", "flows_per_s", "packets_per_s"];

fn leave_out_times(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !TIMES.contains(&name.as_str()));
        object.values_mut().for_each(leave_out_times);
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(leave_out_times);
    }
}

/// Output of a command, without the time it took.
fn output(command: &mut Command) -> String {
    let output = run(command).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let timeless = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        leave_out_times(&mut value);
        value.to_string()
    };
    text.lines().map(timeless).collect::<Vec<_>>().join("\n")
}

#[test]
fn output_is_the_same_on_every_run_and_on_any_number_of_cpus() {
    let names = [
        "nmap_connect.pcap.zst",
        "flood_blacknurse.pcap.zst",
        "ssh_bruteforce_slips.pcap.zst",
    ];
    let captures = names.map(|name| shared_data("pcap").join(name));
    let sensor = binary().unwrap();
    let replay = || {
        let mut command = Command::new(&sensor);
        let flags = ["replay", "--json", "--flows", "--findings"];
        output(command.args(flags).args(captures.first()))
    };
    let first = replay();
    assert!(first.lines().count() > 1_000, "{first}");
    assert!(first == replay(), "a second run says something else");
    let eval = |cpus: &str| {
        let mut command = Command::new("taskset");
        let command = command.args(["--cpu-list", cpus]).arg(&sensor);
        output(command.args(["eval", "--json"]).args(&captures))
    };
    let last = std::thread::available_parallelism().unwrap().get() - 1;
    assert!(
        eval("0") == eval(&format!("0-{last}")),
        "other figures on more CPUs"
    );
}
