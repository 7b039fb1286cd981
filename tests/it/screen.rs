//! The live view on a terminal of its own (`script` makes one), with a flood that is dropped. Needs
//! root.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sensor_tests::{Network, binary, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Ended with the value; the sensor goes with its terminal.
struct Screen(Child);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_live_view_shows_a_flood_and_what_was_decided() {
    needs_root();
    let folder = std::env::temp_dir().join(format!("sensor-it-{}-screen", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let network = Network::new().unwrap();
    let line = format!(
        "stty cols 160 rows 40; exec {} run --iface client --iface attacker --mode enforce --yes",
        binary().unwrap().display()
    );
    let typed = folder.join("typescript");
    let screen = Command::new("ip")
        .args(["netns", "exec", &network.namespace("server")])
        .args(["script", "-q", "-e", "-f", "-c", &line])
        .arg(&typed)
        .env("TERM", "xterm")
        .env("SENSOR__SOCKET__PATH", folder.join("sensor.sock"))
        .env("SENSOR__RESPOND__STATE_FOLDER", folder.join("state"))
        .env("SENSOR__RESPOND__AUDIT_LOG", folder.join("audit.jsonl"))
        .env("SENSOR__RESPOND__BPFFS", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut screen = Screen(screen);
    // Word by word: between words the cursor jumps.
    let shows = |what: &str| {
        let shown = wait_until(LIMIT, || {
            let text = fs::read_to_string(&typed).unwrap_or_default();
            text.contains(what).then_some(())
        });
        let text = || fs::read_to_string(&typed).unwrap_or_default();
        assert!(shown.is_some(), "{what} is not shown: {:?}", text());
    };
    shows("hosts");
    shows("(native)");
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u100 -c 100000 10.99.2.1")
        .unwrap();
    shows("syn_flood");
    shows("decisions");
    shows("10.99.2.2");
    shows("drop");
    let mut keys = screen.0.stdin.take().unwrap();
    keys.write_all(b"q").unwrap();
    let ended = wait_until(LIMIT, || screen.0.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    // The terminal is as before: the other screen is left, the cursor shown.
    shows("\u{1b}[?1049l");
    shows("\u{1b}[?25h");
    let _ = fs::remove_dir_all(folder);
}
