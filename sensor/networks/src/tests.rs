//! Exports of several frameworks against the exporters' own answers, and files that are none.

use super::*;

/// Greatest difference to the exporter's answers.
const NEAR: f32 = 1e-6;

struct Case {
    name: &'static str,
    file: &'static [u8],
    input: &'static [u8],
    output: &'static [u8],
}

macro_rules! cases {
    ($($name:literal, $input:literal, $output:literal;)*) => {
        &[$(Case {
            name: $name,
            file: include_bytes!(concat!("../tests/data/", $name, ".onnx")),
            input: include_bytes!(concat!("../tests/data/", $input, ".in.f32")),
            output: include_bytes!(concat!("../tests/data/", $output, ".out.f32")),
        }),*]
    };
}

/// PyTorch 2.15 (`old`: TorchScript, `new`: dynamo), Keras 3.15 (`tf`), scikit-learn 1.9 (`sk`), and one
/// made by hand for a GRU that resets before the product; answers by the framework or ONNX Runtime 1.32.
const CASES: &[Case] = cases! {
    "ae_old", "ae", "ae"; "ae_new", "ae", "ae";
    "cnn_old", "cnn", "cnn"; "cnn_new", "cnn", "cnn";
    "gru_old", "gru", "gru"; "gru_new", "gru", "gru";
    "lstm_old", "lstm", "lstm"; "lstm_new", "lstm", "lstm";
    "tfcnn_tf", "tfcnn", "tfcnn"; "tflstm_tf", "tflstm", "tflstm";
    "mlp_sk", "mlp", "mlp";
    "dilated_old", "own", "dilated"; "dilated_new", "own", "dilated";
    "bilstm_old", "own", "bilstm"; "bilstm_new", "own", "bilstm";
    "stepwise_old", "own", "stepwise"; "stepwise_new", "own", "stepwise";
    "reset_before", "own", "reset_before";
};

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (whole, _) = bytes.as_chunks();
    whole
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn planned(case: &Case, batch: usize) -> Plan {
    let network = Network::read(case.file).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    Plan::new(&network, batch).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

#[test]
fn every_export_answers_as_its_framework_does() {
    for case in CASES {
        let (input, wanted) = (floats(case.input), floats(case.output));
        let mut plan = planned(case, 5);
        let answers = plan.run(&input);
        assert_eq!(answers.len(), wanted.len(), "{}", case.name);
        let worst = answers.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst < NEAR, "{}: off by {worst:e}", case.name);
    }
}

#[test]
fn a_row_is_answered_alike_in_any_batch() {
    for case in CASES {
        let input = floats(case.input);
        let mut all = planned(case, 7);
        let (row, answer) = (all.row_len(), all.answer_len());
        let wanted = all.run(&input).to_vec();
        assert_eq!(all.run(&input), wanted, "{}: another time", case.name);
        let mut one = planned(case, 1);
        for (x, wanted) in input.chunks(row).zip(wanted.chunks(answer)) {
            assert_eq!(one.run(x), wanted, "{}", case.name);
        }
    }
}

#[test]
fn what_is_beyond_the_batch_or_cut_short_is_left_out() {
    let mut plan = planned(&CASES[0], 2);
    assert_eq!(
        (plan.batch(), plan.row_len(), plan.answer_len()),
        (2, 24, 1)
    );
    assert_eq!(plan.run(&[0.5; 24 * 3]).len(), 2);
    assert_eq!(plan.run(&[0.5; 24 + 23]).len(), 1);
    assert!(plan.run(&[]).is_empty());
    let network = Network::read(CASES[0].file).expect("a good file");
    assert_eq!(network.row_shape(), [24]);
    assert!(matches!(
        Plan::new(&network, 0),
        Err(NetworkError::TooLarge(_))
    ));
    assert!(matches!(
        Plan::new(&network, MAX_BATCH + 1),
        Err(NetworkError::TooLarge(_))
    ));
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut n = bytes.len();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend(bytes);
    out
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// An input or output of floats, the first dimension free.
fn port(name: &str, dims: &[Vec<u8>]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| field(1, dim)).collect();
    let tensor = [number(1, 1), field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A file of one node from `x` of rows of three to `y`.
fn file_of(kind: &str, domain: &str, attributes: &[u8], opset: u8, first: Vec<u8>) -> Vec<u8> {
    let node = [
        field(1, b"x"),
        field(2, b"y"),
        field(4, kind.as_bytes()),
        field(7, domain.as_bytes()),
        attributes.to_vec(),
    ]
    .concat();
    let graph = [
        field(1, &node),
        field(11, &port("x", &[first, number(1, 3)])),
        field(12, &port("y", &[Vec::new(), number(1, 3)])),
    ]
    .concat();
    [field(7, &graph), field(8, &number(2, opset))].concat()
}

fn refusal(file: &[u8]) -> String {
    let refused = Network::read(file).and_then(|network| Plan::new(&network, 4).map(|_| ()));
    refused.expect_err("a refusal").to_string()
}

#[test]
fn what_is_not_evaluated_is_named_in_a_sentence() {
    let free = Vec::new;
    let good = file_of("Relu", "", &[], 17, free());
    let mut plan = Plan::new(&Network::read(&good).expect("read"), 2).expect("plan");
    assert_eq!(plan.run(&[-1.0, 0.5, 2.0]), [0.0, 0.5, 2.0]);
    for (kind, domain) in [
        ("TreeEnsembleClassifier", "ai.onnx.ml"),
        ("TreeEnsembleRegressor", "ai.onnx.ml"),
    ] {
        let said = refusal(&file_of(kind, domain, &[], 17, free()));
        assert!(said.starts_with("not supported: "), "{said}");
        assert!(said.contains(kind) && said.contains("forests"), "{said}");
    }
    let said = refusal(&file_of("Loop", "", &[], 17, free()));
    assert_eq!(
        said,
        "not supported: Loop (y): an operator that is not known here"
    );
    let said = refusal(&file_of("Relu", "", &[], 9, free()));
    assert!(
        said.contains("operator set 9; export with one of 13"),
        "{said}"
    );
    let said = refusal(&file_of("Relu", "", &[], 17, number(1, 3)));
    assert!(said.contains("a fixed number of rows"), "{said}");
    let said = refusal(&file_of("\u{1b}[2J\n", "", &[], 17, free()));
    assert!(!said.contains(['\u{1b}', '\n']), "{said:?}");
}

#[test]
fn a_file_can_not_ask_for_more_than_the_limits() {
    let free = Vec::new;
    // A constant of 2^60 numbers that are not there.
    let dims = [8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    let tensor = [&dims[..], &number(2, 1)].concat();
    let value = [field(1, b"value"), field(5, &tensor)].concat();
    let said = refusal(&file_of("Constant", "", &field(5, &value), 17, free()));
    assert!(said.starts_with("too large: "), "{said}");
    // As many nodes as bytes allow.
    let graph = field(7, &field(1, b"").repeat(5_000));
    let many = [graph, field(8, &number(2, 17))].concat();
    assert!(refusal(&many).starts_with("too large: "));
    assert!(refusal(&vec![0; MAX_FILE_BYTES + 1]).starts_with("too large: "));
}

/// Numbers without a pattern (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Reads, plans and runs whatever it is.
fn try_out(file: &[u8]) -> bool {
    let Ok(network) = Network::read(file) else {
        return false;
    };
    let Ok(mut plan) = Plan::new(&network, 2) else {
        return false;
    };
    let rows = vec![0.5; plan.row_len() * 2];
    let n = plan.run(&rows).len();
    assert_eq!(n, 2 * plan.answer_len());
    true
}

#[test]
fn a_file_cut_short_is_refused() {
    for case in CASES {
        assert!(try_out(case.file));
        for n in (0..case.file.len()).step_by(97) {
            // What is lost may be an operator set of another domain: then it is whole.
            let _is_whole = try_out(&case.file[..n]);
        }
        assert!(!try_out(&case.file[..case.file.len() / 2]), "{}", case.name);
    }
}

#[test]
fn damaged_files_never_bring_it_down() {
    let mut state = 14;
    let mut n_good = 0;
    for case in CASES {
        for _ in 0..60 {
            let mut file = case.file.to_vec();
            for _ in 0..=next(&mut state) % 4 {
                let place = next(&mut state) as usize % file.len();
                match next(&mut state) % 3 {
                    0 => file[place] = next(&mut state) as u8,
                    1 => file[place] ^= 1 << (next(&mut state) % 8),
                    _ => {
                        let end = (place + next(&mut state) as usize % 9).min(file.len());
                        file.drain(place..end);
                    }
                }
            }
            n_good += usize::from(try_out(&file));
        }
    }
    // Most bytes are weights, which may be any.
    assert!(n_good > 100, "{n_good}");
}
