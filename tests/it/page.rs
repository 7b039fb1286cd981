//! The page in a real browser. Only where it is asked for: chromium is 300 MB. Needs root.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sensor_tests::browser::Browser;
use sensor_tests::{Network, Running, binary, harness, needs_program, needs_root};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(15);
const URL: &str = "http://127.0.0.1:9470/";

/// A button by its text.
fn button(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('button')].find(one => one.textContent.trim() === '{text}')"
    )
}

fn has(text: &str) -> String {
    format!("document.body.innerText.includes({})", json!(text))
}

/// Pictures for the docs, where `SENSOR_BLESS` asks for them; else away with them.
fn picture(browser: &mut Browser, name: &str) {
    let folder = match std::env::var_os("SENSOR_BLESS") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images"),
        None => std::env::temp_dir(),
    };
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("page-{name}.png"));
    browser.picture(&path).unwrap();
    let n_bytes = std::fs::metadata(&path).unwrap().len();
    assert!((5_000..200_000).contains(&n_bytes), "{name}: {n_bytes}");
}

/// Looks at an incident, and says something of it.
fn incidents(page: &mut Browser, id: &str) {
    page.go(&format!("{URL}#/incidents")).unwrap();
    page.wait_for(&has("syn flood")).unwrap();
    page.go(&format!("{URL}#/incidents/{id}")).unwrap();
    page.wait_for(&has("a drop would need")).unwrap();
    page.look((1_280, 1_000), "dark").unwrap();
    page.value(&format!("{}.click()", button("Benign")))
        .unwrap();
    page.wait_for(&has("Held for benign")).unwrap();
    picture(page, "incident");
    page.value(&format!("{}.click()", button("Mute …")))
        .unwrap();
    page.wait_for("document.querySelector('dialog').open")
        .unwrap();
    page.value("document.querySelector('dialog form').requestSubmit()")
        .unwrap();
    page.wait_for(&has("Muted.")).unwrap();
}

/// Ends an entry, and looks back.
fn response_and_past(page: &mut Browser) {
    page.look((1_280, 900), "light").unwrap();
    page.go(&format!("{URL}#/response")).unwrap();
    page.wait_for(&has("10.99.2.2")).unwrap();
    picture(page, "response");
    page.value(&format!("{}.click()", button("Remove")))
        .unwrap();
    page.wait_for(&has("Nothing is blocked.")).unwrap();
    page.go(&format!("{URL}#/look?q=dst+host+10.99.2.1+last+10m"))
        .unwrap();
    page.wait_for("/Flows \\([1-9]/.test(document.body.innerText)")
        .unwrap();
    picture(page, "look");
}

/// Makes a token that may order.
fn token(sensor: &Running) -> String {
    let state = sensor.socket().with_file_name("state");
    let made = Command::new(binary().unwrap())
        .args(["token", "add", "ann", "--rights", "operate", "--json"])
        .env("SENSOR__RESPOND__STATE_FOLDER", state)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_page_shows_and_does_what_it_says_in_a_browser() {
    if std::env::var_os("SENSOR_TEST_BROWSER").is_none() {
        harness::skip("needs SENSOR_TEST_BROWSER=1 and chromium, which is 300 MB");
    }
    needs_root();
    needs_program("chromium");
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--set http.enabled=true").unwrap();
    let token = token(&sensor);
    let _ping = network
        .start("client", "ping -i 0.02 -s 900 -c 3000 10.99.1.1")
        .unwrap();
    network
        .run("attacker", "hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1")
        .unwrap();
    let incident = sensor.wait_for(LIMIT, |v| v["incident.family"] == "syn_flood");
    let id = incident.unwrap()["incident.id"]
        .as_str()
        .unwrap()
        .to_owned();

    let launcher = format!("ip netns exec {}", network.namespace("server"));
    let mut browser = Browser::start(&launcher).unwrap();
    let page = &mut browser;
    page.look((1_280, 900), "light").unwrap();
    page.go(URL).unwrap();
    page.wait_for(&has("A token is made on the host")).unwrap();
    // The one error so far: nobody was known.
    page.errors.clear();
    page.go(&format!("{URL}#token={token}")).unwrap();
    page.value("location.reload()").unwrap();
    page.wait_for(&has("Top talkers")).unwrap();
    page.wait_for("document.querySelectorAll('.u-over').length === 2")
        .unwrap();
    assert_eq!(page.value("location.hash").unwrap(), "");
    let painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0";
    let painted = page.value(painted).unwrap().as_f64().unwrap();
    println!("first paint after {painted:.0} ms");
    page.wait_for(&has("10.99.1.2")).unwrap();
    let count = "window.n = 0; new EventSource('/api/v1/live').addEventListener('status', () => { window.n += 1; }); true";
    page.wait_for(count).unwrap();
    page.wait_for("window.n >= 8").unwrap();
    picture(page, "now");

    incidents(page, &id);
    response_and_past(page);
    page.look((360, 780), "light").unwrap();
    page.go(&format!("{URL}#/now")).unwrap();
    page.wait_for(&has("open incidents")).unwrap();
    page.wait_for("document.documentElement.scrollWidth <= 360")
        .unwrap();
    page.wait_for("document.querySelectorAll('canvas').length === 2")
        .unwrap();
    picture(page, "phone");
    page.value(&format!("{}.click()", button("Log out")))
        .unwrap();
    page.wait_for(&has("A token is made on the host")).unwrap();
    let is_expected = |error: &&String| error.contains("401");
    let others: Vec<&String> = page
        .errors
        .iter()
        .filter(|error| !is_expected(error))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
