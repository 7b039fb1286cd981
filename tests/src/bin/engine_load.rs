//! `engine_load [FLOWS] [clients|spoofed] [--json]`: throughput and memory of the engine.

use sensor_tests::engine_load::{Mix, measure};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let n_flows = arguments.iter().find_map(|word| word.parse().ok());
    let is_json = arguments.iter().any(|word| word == "--json");
    let named = |mix: &Mix| arguments.iter().any(|word| word == mix.label());
    let any_named = Mix::ALL.iter().any(named);
    for mix in Mix::ALL.into_iter().filter(|mix| !any_named || named(mix)) {
        let load = measure(mix, n_flows.unwrap_or(1_000_000));
        if is_json {
            println!("{}", load.as_json());
        } else {
            println!("{load}");
        }
    }
}
