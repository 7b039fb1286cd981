//! Chromium without a window, steered over pipes by its DevTools protocol.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::host::run;
use crate::wait_until;

/// Time for a condition to come true: only a failing test waits so long, however slow the machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page; ended with the value.
pub struct Browser {
    child: Child,
    folder: PathBuf,
    to: File,
    from: BufReader<File>,
    /// Session of the page.
    session: String,
    n: u64,
    /// Errors that pages reported, what their policy forbade included.
    pub errors: Vec<String>,
    /// Addresses that pages asked for.
    pub asked: Vec<String>,
    /// Fates of files to be saved, and answers that refused something.
    told: Vec<String>,
}

impl Browser {
    /// Starts it by `launcher`, e.g. `ip netns exec NAME`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(launcher: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("sensor-browser-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let [to, from] = ["to", "from"].map(|name| folder.join(name));
        run(Command::new("mkfifo").args([&to, &from]))?;
        // Its protocol is spoken on descriptors 3 and 4.
        let line = format!(
            "exec {launcher} chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars \
             --no-first-run --disable-dev-shm-usage --user-data-dir={} --remote-debugging-pipe about:blank \
             3<{} 4>{}",
            folder.join("profile").display(),
            to.display(),
            from.display()
        );
        let child = Command::new("bash")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut browser = Self {
            child,
            to: File::options().write(true).open(&to)?,
            from: BufReader::new(File::open(&from)?),
            folder,
            session: String::new(),
            n: 0,
            errors: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
        };
        let saves = json!({"behavior": "allow", "downloadPath": browser.downloads(), "eventsEnabled": true});
        browser.ask("Browser.setDownloadBehavior", saves)?;
        let targets = wait_until(LIMIT, || {
            let told = browser.ask("Target.getTargets", json!({})).ok()?;
            let all = told["targetInfos"].as_array()?.clone();
            all.into_iter().find(|one| one["type"] == "page")
        });
        let page = targets.context("the browser shows no page")?;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"].map(|name| format!("{name}.enable")) {
            let domain = domain.as_str();
            browser.ask(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// Sends a command and waits for its answer; errors of the page that come meanwhile are kept.
    ///
    /// # Errors
    /// When the browser refuses it, or is gone.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.n += 1;
        let mut message = json!({"id": self.n, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        loop {
            let mut bytes = Vec::new();
            if self.from.read_until(0, &mut bytes)? == 0 {
                bail!("the browser is gone");
            }
            bytes.pop();
            let told: Value = serde_json::from_slice(&bytes)?;
            self.hear(&told);
            if told["id"] == self.n {
                if !told["error"].is_null() {
                    bail!("{method}: {}", told["error"]);
                }
                return Ok(told["result"].clone());
            }
        }
    }

    /// Keeps what a page told by itself.
    fn hear(&mut self, told: &Value) {
        let about = &told["params"];
        match told["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = about["request"]["url"].as_str().unwrap_or_default();
                self.asked.push(url.to_owned());
            }
            Some("Browser.downloadWillBegin") => {
                self.told
                    .push(format!("begun: {}", about["suggestedFilename"]));
            }
            Some("Browser.downloadProgress") if about["state"] != "inProgress" => {
                self.told.push(about.to_string());
            }
            Some("Network.responseReceived")
                if about["response"]["status"].as_u64() >= Some(400) =>
            {
                let response = &about["response"];
                self.told
                    .push(format!("{}: {}", response["url"], response["status"]));
            }
            Some("Network.loadingFailed") => self.told.push(about.to_string()),
            Some("Runtime.exceptionThrown") => self.errors.push(about.to_string()),
            Some("Log.entryAdded") if about["entry"]["level"] == "error" => {
                self.errors.push(about.to_string());
            }
            _ => {}
        }
    }

    /// Folder that files are saved in.
    pub fn downloads(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// Waits for a saved file whose name ends so, and takes it away.
    ///
    /// # Errors
    /// With what the page shows and the browser told, when there is none.
    pub fn saved(&mut self, end: &str) -> Result<Vec<u8>> {
        let folder = self.downloads();
        let found = wait_until(LIMIT, || {
            // The browser is heard meanwhile.
            self.value("1").ok()?;
            let mut entries = std::fs::read_dir(&folder).ok()?.flatten();
            let file = entries.find(|one| one.file_name().to_string_lossy().ends_with(end))?;
            Some(file.path())
        });
        let Some(path) = found else {
            let state = self.state()?;
            bail!("no file of {end} was saved: {state}");
        };
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(path)?;
        Ok(bytes)
    }

    /// Presses a key, as `Tab` or `2`, and lets it go.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => other.bytes().next().map_or(0, u32::from),
        };
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        match key {
            "Enter" => event["text"] = json!("\r"),
            one if one.len() == 1 => event["text"] = json!(one),
            _ => {}
        }
        self.ask("Input.dispatchKeyEvent", event)?;
        let up = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.ask("Input.dispatchKeyEvent", up).map(|_| ())
    }

    /// Value of an expression in the page.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let told = self.ask("Runtime.evaluate", parameters)?;
        Ok(told["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// With the text of the page, when it does not come true.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let found = wait_until(LIMIT, || {
            let value = self.value(expression).ok()?;
            (value == true).then_some(())
        });
        if found.is_none() {
            let state = self.state()?;
            bail!("never true: {expression}: {state}");
        }
        Ok(())
    }

    /// Tells what explains a failure: the text of the page, its errors and what the browser told.
    fn state(&mut self) -> Result<String> {
        let text = self.value("document.body.innerText")?;
        let text = text.as_str().unwrap_or_default();
        Ok(format!(
            "{text}\nerrors: {:?}\nbrowser: {:?}\nlast asked: {:?}",
            self.errors,
            self.told,
            self.asked.iter().rev().take(5).collect::<Vec<_>>()
        ))
    }

    /// Sets size and scheme of the page: `light` or `dark`.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn look(&mut self, (width, height): (u32, u32), scheme: &str) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", scheme).map(|_| ())
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn go(&mut self, url: &str) -> Result<()> {
        self.ask("Page.navigate", json!({"url": url})).map(|_| ())
    }

    /// Writes a picture of the page (PNG).
    ///
    /// # Errors
    /// As [`Self::ask`], and the file's.
    pub fn picture(&mut self, path: &Path) -> Result<()> {
        let told = self.ask("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = told["data"].as_str().context("no picture")?;
        std::fs::write(path, from_base64(data)).with_context(|| path.display().to_string())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        let _gone = self.ask("Browser.close", json!({}));
        let _killed = self.child.kill();
        let _ended = self.child.wait();
        let _absent = std::fs::remove_dir_all(&self.folder);
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut n_bits, mut bytes) = (0u32, 0, Vec::new());
    for digit in text
        .bytes()
        .filter_map(|c| DIGITS.iter().position(|d| *d == c))
    {
        bits = (bits << 6 | digit as u32) & 0xff_ffff;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xff) as u8);
        }
    }
    bytes
}
