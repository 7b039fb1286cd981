//! The live view on a terminal of its own (`script` makes one), with a flood that is limited. Needs
//! root.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sensor_tests::{Network, Terminal, binary, needs_program, needs_root, run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A sensor on a terminal; ended with the value, the sensor goes with its terminal.
struct Screen {
    child: Child,
    folder: PathBuf,
    terminal: Terminal,
    /// Bytes of what was written that the terminal has taken.
    n_taken: usize,
}

impl Screen {
    fn open(network: &Network, (width, height): (usize, usize)) -> Self {
        needs_program("script");
        let name = format!("sensor-it-{}-screen", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let line = format!(
            "echo $$ > {}; tty > {}; stty cols {width} rows {height}; exec {} run --iface client \
             --iface attacker --mode enforce --yes",
            folder.join("pid").display(),
            folder.join("tty").display(),
            binary().unwrap().display()
        );
        let child = Command::new("ip")
            .args(["netns", "exec", &network.namespace("server")])
            .args(["script", "-q", "-e", "-f", "-c", &line])
            .arg(folder.join("typescript"))
            .env("TERM", "xterm")
            .env("SENSOR__SOCKET__PATH", folder.join("sensor.sock"))
            .env("SENSOR__RESPOND__STATE_FOLDER", folder.join("state"))
            .env("SENSOR__RESPOND__AUDIT_LOG", folder.join("audit.jsonl"))
            .env("SENSOR__RESPOND__BPFFS", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            terminal: Terminal::new(width, height),
            n_taken: 0,
        }
    }

    fn written(&self) -> String {
        let bytes = fs::read(self.folder.join("typescript")).unwrap_or_default();
        // The last character may be cut.
        let whole = bytes.utf8_chunks().next();
        whole.map_or_else(String::new, |chunk| chunk.valid().to_owned())
    }

    /// Reads what the terminal shows now.
    fn look(&mut self) -> String {
        let written = self.written();
        // What comes before the other screen is `script`'s own.
        let begin = written.find("\u{1b}[?1049h").unwrap_or(written.len());
        if let Some(new) = written.get(self.n_taken.max(begin)..) {
            self.terminal.feed(new);
            self.n_taken = written.len();
        }
        self.terminal.text()
    }

    #[track_caller]
    fn shows(&mut self, what: &str) {
        let shown = wait_until(LIMIT, || self.look().contains(what).then_some(()));
        assert!(shown.is_some(), "{what} is not shown:\n{}", self.look());
    }

    fn press(&mut self, keys: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    fn resize(&mut self, width: usize, height: usize) {
        let _before = self.look();
        self.terminal.resize(width, height);
        let tty = fs::read_to_string(self.folder.join("tty")).unwrap();
        let size = ["cols", &width.to_string(), "rows", &height.to_string()].map(str::to_owned);
        run(Command::new("stty").args(["-F", tty.trim()]).args(size)).unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A sensor whose terminal is gone goes on.
        if let Ok(process) = fs::read_to_string(self.folder.join("pid")) {
            let _gone = run(Command::new("kill").args(["-s", "KILL", process.trim()]));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_live_view_is_usable_at_80_columns_and_shows_all_at_200() {
    needs_root();
    let network = Network::new().unwrap();
    let mut screen = Screen::open(&network, (80, 24));
    screen.shows("1 incidents");
    screen.shows("client (native)");
    screen.shows("look ");
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u100 -c 300000 10.99.2.1")
        .unwrap();
    // The whole sentence, to its end.
    screen.shows("syn_flood");
    screen.shows("10.99.2.1 got");
    screen.shows("(score");
    screen.press("j");
    screen.shows("incidents");
    screen.shows("1 of ");
    screen.press("4");
    screen.shows("challenge 10.99.2.2 (tcp");
    screen.shows("for 300 s: carried out");
    screen.press("3");
    screen.shows("10.99.2.2");
    screen.shows("s left");
    screen.press("2");
    screen.shows("top hosts");
    let shown = screen.look();
    assert_eq!(screen.terminal.n_outside, 0, "{shown}");

    screen.resize(200, 60);
    for panel in [
        "top hosts",
        "incidents (",
        "blocked",
        "decisions (",
        "log, newest",
    ] {
        screen.shows(panel);
    }
    screen.shows("in: ");
    screen.shows("carried out");
    let shown = screen.look();
    assert_eq!(screen.terminal.n_outside, 0, "{shown}");

    screen.press("q");
    let ended = wait_until(LIMIT, || screen.child.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    // The terminal is as before: the other screen is left, the cursor shown.
    let written = screen.written();
    for end in ["\u{1b}[?1049l", "\u{1b}[?25h"] {
        assert!(written.contains(end), "{written:?}");
    }
}
