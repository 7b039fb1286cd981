//! An image in the Expert Witness format (E01), which EnCase, FTK and sleuthkit read: the folder as a file
//! system (ext2), so that its files are listed. Its length is a whole number of blocks: ewfacquire
//! loses the end of what is no multiple of 512 bytes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

const BLOCK: u64 = 4_096;
/// Room for inodes, bitmaps and folders besides the files.
const ROOM: u64 = 1 << 20;
/// Bytes of a segment file.
const SEGMENT: &str = "1GiB";

/// Labels that go into the head of the image.
pub struct Labels<'a> {
    pub case: &'a str,
    pub number: &'a str,
    pub examiner: &'a str,
    pub description: &'a str,
    pub note: &'a str,
}

/// Makes `FOLDER.E01` beside a folder and verifies it.
///
/// # Errors
/// When a program is missing or fails, or an image is there already.
pub fn make(folder: &Path, labels: &Labels<'_>) -> Result<PathBuf> {
    let beside = |end: &str| {
        let mut name = folder.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (raw, image) = (beside(".img"), beside(".E01"));
    if image.exists() {
        bail!("{}: is there already", image.display());
    }
    let made = fill(folder, &raw).and_then(|()| acquire(&raw, &beside(""), labels));
    let removed = fs::remove_file(&raw).with_context(|| raw.display().to_string());
    made?;
    removed?;
    run(Command::new("ewfverify")
        .args(["-q", "-d", "sha256"])
        .arg(&image))?;
    Ok(image)
}

fn fill(folder: &Path, raw: &Path) -> Result<()> {
    let mut n_bytes = ROOM;
    for entry in fs::read_dir(folder)? {
        let length = entry?.metadata()?.len();
        // And the blocks that say where its blocks are.
        n_bytes += (length + length / 512).next_multiple_of(BLOCK) + BLOCK;
    }
    let n_blocks = n_bytes.div_ceil(BLOCK);
    let shown = || raw.display().to_string();
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(raw);
    file.and_then(|file| file.set_len(n_blocks * BLOCK))
        .with_context(shown)?;
    let line = [
        "-q", "-F", "-t", "ext2", "-b", "4096", "-m", "0", "-L", "evidence", "-d",
    ];
    run(Command::new("mke2fs")
        .args(line)
        .arg(folder)
        .arg(raw)
        .arg(n_blocks.to_string()))
}

fn acquire(raw: &Path, target: &Path, labels: &Labels<'_>) -> Result<()> {
    let line = [
        "-u",
        "-q",
        "-f",
        "encase6",
        "-c",
        "deflate:fast",
        "-d",
        "sha256",
    ];
    run(Command::new("ewfacquire")
        .args(line)
        .args(["-S", SEGMENT, "-m", "fixed", "-M", "logical"])
        .args([
            "-C",
            labels.case,
            "-E",
            labels.number,
            "-e",
            labels.examiner,
        ])
        .args(["-D", labels.description, "-N", labels.note, "-t"])
        .arg(target)
        .arg(raw))
}

/// Runs a program, whose output is its excuse where it fails.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // mke2fs is not in everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("{name} can't be started: --e01 needs ewf-tools and e2fsprogs (Debian's names)")
    })?;
    if !output.status.success() {
        let told = [output.stdout, output.stderr].concat();
        bail!("{name} failed: {}", String::from_utf8_lossy(&told).trim());
    }
    Ok(())
}
