//! Writes what the fuzz targets begin with: `seeds FOLDER` makes a folder for each target.

use std::path::Path;
use std::{env, fs, io};

use sensor_alerts::example::EXAMPLES;
use sensor_tests::frames::{Dice, random_frame, specimens};
use sensor_tests::pcap::{PcapWriter, Stamps};

/// Layers of every kind in files short enough to be changed everywhere.
const NETWORKS: [&[u8]; 4] = [
    include_bytes!("../../../sensor/networks/tests/data/dilated_new.onnx"),
    include_bytes!("../../../sensor/networks/tests/data/mlp_sk.onnx"),
    include_bytes!("../../../sensor/networks/tests/data/reset_before.onnx"),
    include_bytes!("../../../sensor/networks/tests/data/stepwise_old.onnx"),
];

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: seeds FOLDER"))?;
    let folder = Path::new(&folder);
    let frames: Vec<Vec<u8>> = specimens().into_iter().map(|(_, frame)| frame).collect();
    write(&folder.join("packet"), frames.iter().cloned())?;
    let captures = [classic(&frames)?, classic_swapped(&frames), ng(&frames)];
    let packed: io::Result<Vec<_>> = captures
        .iter()
        .map(|capture| zstd::encode_all(capture.as_slice(), 3))
        .collect();
    write(&folder.join("capture"), captures.into_iter().chain(packed?))?;
    write(
        &folder.join("network"),
        NETWORKS.iter().map(|file| file.to_vec()),
    )?;
    let mut dice = Dice(7);
    let series = (0..40).map(|_| series(&mut dice));
    write(&folder.join("datapath"), series)?;
    write(&folder.join("flow_records"), flow_records())?;
    write(&folder.join("alert"), alerts())
}

/// Messages of each kind, each with its length before it.
fn flow_records() -> impl Iterator<Item = Vec<u8>> {
    let messages = sensor_netflow::example::messages().into_iter();
    messages.map(|message| [&(message.len() as u16).to_be_bytes()[..], &message].concat())
}

/// Alerts of other systems.
fn alerts() -> impl Iterator<Item = Vec<u8>> {
    EXAMPLES.iter().map(|one| one.message.as_bytes().to_vec())
}

fn write(folder: &Path, seeds: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (n, seed) in seeds.enumerate() {
        fs::write(folder.join(format!("seed-{n:03}")), seed)?;
    }
    Ok(())
}

/// Frames as the datapath target reads them.
fn series(dice: &mut Dice) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..20 {
        let mut frame = random_frame(dice);
        frame.truncate(80);
        let random = dice.roll().to_ne_bytes();
        data.extend([random[0], random[1] & 3, random[2] & 1, frame.len() as u8]);
        data.extend(frame);
    }
    data
}

/// Frames short enough that a mutation often meets a header of the file.
fn some(frames: &[Vec<u8>]) -> impl Iterator<Item = &Vec<u8>> {
    frames.iter().filter(|frame| frame.len() < 70).take(6)
}

fn classic(frames: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = PcapWriter::new(&mut bytes, Stamps::Microseconds)?;
    for (n, frame) in (0..).zip(some(frames)) {
        file.frame(1_700_000_000_000_000_000 + n * 1_000, frame)?;
    }
    Ok(bytes)
}

/// Nanoseconds, the other byte order, Linux cooked.
fn classic_swapped(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = [0xa1b2_3c4d_u32, 0x0002_0004, 0, 0, 65_535, 113];
    let mut file: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    for frame in some(frames) {
        let rest = frame.get(14..).unwrap_or_default();
        let length = rest.len() as u32 + 16;
        let words = [1_700_000_000, 999, length, length];
        file.extend(words.into_iter().flat_map(u32::to_be_bytes));
        file.extend([0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0]);
        file.extend(rest);
    }
    file
}

fn ng(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX], &[]);
    // Ethernet, with the resolution of its times: nanoseconds.
    file.extend(block(1, &[1, 65_535, 0x0001_0009, 9, 0], &[]));
    for (n, frame) in some(frames).enumerate() {
        let length = frame.len() as u32;
        if n % 3 == 2 {
            file.extend(block(3, &[length], frame));
        } else {
            file.extend(block(6, &[0, 395_812_000, n as u32, length, length], frame));
        }
    }
    file
}

fn block(kind: u32, words: &[u32], data: &[u8]) -> Vec<u8> {
    let padded = data.len().next_multiple_of(4);
    let length = (12 + words.len() * 4 + padded) as u32;
    let mut block: Vec<u8> = [kind, length]
        .iter()
        .chain(words)
        .flat_map(|word| word.to_le_bytes())
        .collect();
    block.extend(data);
    block.resize(length as usize - 4, 0);
    block.extend(length.to_le_bytes());
    block
}
