//! The page in a real browser, where there is one. Needs root.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sensor_tests::browser::Browser;
use sensor_tests::{Network, Running, binary, harness, needs_program, needs_root};
use serde_json::{Value, json};

use crate::pins::Bpffs;

const LIMIT: Duration = Duration::from_secs(60);
const URL: &str = "http://127.0.0.1:9470/";

/// Every decision waits for a person, so that there is something to approve and to refuse.
const SETTINGS: &str = "\n[[respond.policy]]\nname = \"ask\"\nsource = \"remote\"\naction = \"drop\"\n\
    approval = true\n[http]\nenabled = true\n\
    [ring]\nfirst_packets = true\n";

/// Texts whose contrast is below WCAG 2.2's 4.5:1 (3:1 for large ones), as the browser draws them.
const PALE: &str = r#"(() => {
    const parts = (color) => (/rgba?\(([^)]*)\)/.exec(color)?.[1] ?? "0,0,0,0").split(/[ ,/]+/).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const color = parts(getComputedStyle(at).backgroundColor);
            if ((color[3] ?? 1) === 1 && color.length >= 3) return color;
        }
        return [255, 255, 255];
    };
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode.parentElement;
        const style = getComputedStyle(node);
        if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest(":disabled")) continue;
        const front = parts(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
        const [a, b] = [light(front), light(behind(node))].sort((one, other) => other - one);
        const size = parseFloat(style.fontSize), is_large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (is_large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${walk.currentNode.data.trim().slice(0, 40)}`);
    }
    return found;
})()"#;

/// Whatever can be reached by a key.
const REACHABLE: &str = "[...document.querySelectorAll('a[href], button, input, select')]\
    .filter((one) => one.checkVisibility() && !one.disabled)";

/// A button by its text, in a dialog where one is open.
fn button(text: &str) -> String {
    format!(
        "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button')]\
         .find(one => one.textContent.trim() === {})",
        json!(text)
    )
}

fn has(text: &str) -> String {
    format!("document.body.innerText.includes({})", json!(text))
}

/// Clicks a button once it is there.
fn click(page: &mut Browser, text: &str) {
    page.wait_for(&format!("Boolean({})", button(text)))
        .unwrap();
    page.value(&format!("{}.click()", button(text))).unwrap();
}

/// Writes into a field as a person does.
fn fill(page: &mut Browser, name: &str, text: &str) {
    let field = format!(
        "(document.querySelector('dialog[open]') ?? document).querySelector('[name={name}]')"
    );
    page.wait_for(&format!("Boolean({field})")).unwrap();
    page.value(&format!("{field}.focus(), {field}.select(), true"))
        .unwrap();
    page.ask("Input.insertText", json!({"text": text})).unwrap();
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

/// Looks at a view as wide as a phone and as a desk, in both schemes: nothing is pale, nothing juts out.
fn looks_right(page: &mut Browser, name: &str) {
    for (size, scheme) in [
        ((360, 780), "light"),
        ((360, 780), "dark"),
        ((1_280, 900), "dark"),
        ((1_280, 900), "light"),
    ] {
        page.look(size, scheme).unwrap();
        let fits = format!("document.documentElement.scrollWidth <= {}", size.0);
        page.wait_for(&fits)
            .unwrap_or_else(|cause| panic!("{name} at {}: {cause}", size.0));
        let pale = page.value(PALE).unwrap();
        assert_eq!(pale, json!([]), "{name}, {scheme}");
    }
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

/// Comes in with the token, and sees the first view.
fn log_in(page: &mut Browser, token: &str) {
    page.look((1_280, 900), "light").unwrap();
    page.go(URL).unwrap();
    page.wait_for(&has("A token is made on the host")).unwrap();
    looks_right(page, "login");
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
}

/// Goes through the views by keys alone.
fn keys(page: &mut Browser) {
    page.press("2").unwrap();
    page.wait_for(&has("host or network")).unwrap();
    page.press("/").unwrap();
    page.wait_for("document.activeElement?.type === 'search'")
        .unwrap();
    page.value("document.activeElement.blur()").unwrap();
    page.press("1").unwrap();
    page.wait_for(&has("Top talkers")).unwrap();
    // The tables change under way: what is there now has to be met within two rounds.
    page.value(&format!("window.met = new Set(); {REACHABLE}.length"))
        .unwrap();
    let n = page.value(&format!("{REACHABLE}.length")).unwrap();
    let n = n.as_u64().unwrap();
    assert!(n > 10, "{n}");
    for _ in 0..2 * n {
        page.press("Tab").unwrap();
        let outlined =
            "(() => { const one = document.activeElement; if (one === document.body) return true;
            met.add(one); return getComputedStyle(one).outlineStyle !== 'none'; })()";
        assert_eq!(page.value(outlined).unwrap(), true, "focus is seen");
    }
    let missed = format!(
        "{REACHABLE}.filter((one) => !met.has(one) && !one.closest('table')).map((one) => one.outerHTML)"
    );
    assert_eq!(page.value(&missed).unwrap(), json!([]));
}

/// Follows an incident to its page, and does there all that can be done.
fn incident(page: &mut Browser, id: &str) {
    page.press("2").unwrap();
    page.wait_for(&has("syn flood")).unwrap();
    looks_right(page, "incidents");
    page.value(&format!(
        "document.querySelector('a[href=\"#/incidents/{id}\"]').click()"
    ))
    .unwrap();
    page.wait_for(&has("a drop would need")).unwrap();
    click(page, "Approve");
    page.wait_for(&has("Carried out.")).unwrap();
    click(page, "Undo");
    page.wait_for(&has("Undone.")).unwrap();
    click(page, "Attack …");
    fill(page, "reason", "a flood without a doubt");
    // What is typed outlives the state that comes every second.
    page.value("window.n = 0").unwrap();
    page.wait_for("window.n >= 2").unwrap();
    click(page, "It was an attack");
    page.wait_for(&has("attack until")).unwrap();
    page.wait_for(&has("a flood without a doubt")).unwrap();
    click(page, "Benign …");
    // A dialog is left by a key, and nothing is done.
    page.press("Escape").unwrap();
    page.wait_for("!document.querySelector('dialog')").unwrap();
    click(page, "Benign …");
    fill(page, "reason", "our own test");
    click(page, "It was benign");
    page.wait_for(&has("Held for benign")).unwrap();
    page.wait_for(&has("our own test")).unwrap();
    click(page, "Remark …");
    fill(
        page,
        "remark",
        "asked its owner, see https://tickets.example/17",
    );
    fill(page, "assignee", "ann");
    click(page, "Add");
    page.wait_for(&has("In hand: ann.")).unwrap();
    page.wait_for("Boolean(document.querySelector('a[href=\"https://tickets.example/17\"]'))")
        .unwrap();
    click(page, "Packets (pcapng)");
    assert!(page.saved(".pcapng").unwrap().len() > 10_000);
    page.wait_for(&has("packet samples saved")).unwrap();
    click(page, "STIX 2.1");
    let stix: Value = serde_json::from_slice(&page.saved(".stix.json").unwrap()).unwrap();
    assert_eq!(stix["type"], "bundle");
    looks_right(page, "incident");
    page.look((1_280, 1_000), "dark").unwrap();
    picture(page, "incident");
    click(page, "Mute …");
    fill(page, "reason", "a drill");
    click(page, "Mute");
    page.wait_for(&has("Muted.")).unwrap();
}

/// Refuses a proposal, makes an entry and takes it away, stops everything and lets it go on.
fn response(page: &mut Browser) {
    page.press("3").unwrap();
    page.wait_for(&has("lapses in")).unwrap();
    click(page, "Reject");
    page.wait_for(&has("Refused.")).unwrap();
    fill(page, "target", "198.51.100.7");
    fill(page, "reason", "a test");
    click(page, "Block …");
    page.wait_for(&has("Within the last hour")).unwrap();
    click(page, "Block it");
    page.wait_for(&has("198.51.100.7 is on the block-list."))
        .unwrap();
    page.wait_for(&format!("Boolean({})", button("Remove")))
        .unwrap();
    looks_right(page, "response");
    picture(page, "response");
    click(page, "Remove");
    page.wait_for(&has("Nothing is blocked.")).unwrap();
    click(page, "Stop all enforcement …");
    click(page, "Cancel");
    page.wait_for("!document.querySelector('dialog')").unwrap();
    assert_eq!(
        page.value(&has("Enforcement is stopped.")).unwrap(),
        false,
        "no order without a confirmation"
    );
    click(page, "Stop all enforcement …");
    click(page, "Stop it");
    page.wait_for(&has("Enforcement is stopped.")).unwrap();
    click(page, "Let it go on");
    page.wait_for(&has("Enforcement goes on.")).unwrap();
}

/// Looks back, and saves exactly what is shown.
fn past(page: &mut Browser) {
    page.go(&format!("{URL}#/look?q=dst+host+10.99.2.1+last+10m"))
        .unwrap();
    page.wait_for("/Flows \\([1-9]/.test(document.body.innerText)")
        .unwrap();
    looks_right(page, "look");
    picture(page, "look");
    let shown = "[...document.querySelectorAll('section')].find((one) => one.innerText.startsWith('Flows'))\
        .querySelectorAll('tbody tr').length";
    let n_shown = page.value(shown).unwrap().as_u64().unwrap();
    click(page, "CSV");
    let csv = String::from_utf8(page.saved(".csv").unwrap()).unwrap();
    let mut rows = csv.lines();
    assert!(rows.next().unwrap().starts_with("event.start,event.end,"));
    assert_eq!(rows.clone().count() as u64, n_shown);
    assert!(rows.all(|row| row.contains("10.99.2.1")), "{csv}");
    click(page, "PCAP");
    let packets = page.saved(".pcapng").unwrap();
    page.wait_for(&has("packet samples saved")).unwrap();
    let note = "document.querySelector('.note.ok').innerText";
    println!("{}", page.value(note).unwrap());
    // SYNs of the attacker, and of nobody else.
    let of = |from: [u8; 4]| {
        let ends = [from, [10, 99, 2, 1]].concat();
        packets.windows(8).filter(|part| *part == ends).count()
    };
    assert!(of([10, 99, 2, 2]) > 10 && of([10, 99, 1, 2]) == 0);
}

/// Looks at a host, the models and a report.
fn more(page: &mut Browser) {
    page.go(&format!("{URL}#/host/10.99.2.2")).unwrap();
    page.wait_for(
        "document.querySelector('ol.chain li.met')?.innerText.includes('Impact') ?? false",
    )
    .unwrap();
    page.wait_for(&has("serves tcp 80").replace("serves", "uses"))
        .unwrap();
    looks_right(page, "host");
    picture(page, "host");
    page.press("5").unwrap();
    page.wait_for(&has("Thresholds in force")).unwrap();
    page.wait_for(&has("syn flood")).unwrap();
    page.value("document.querySelector('details summary').click()")
        .unwrap();
    looks_right(page, "models");
    picture(page, "models");
    page.press("6").unwrap();
    page.wait_for(&has("Incidents by family")).unwrap();
    page.wait_for("/\\b[1-9]\\d* incidents/.test(document.body.innerText)")
        .unwrap();
    looks_right(page, "report");
    picture(page, "report");
    let media = json!({"media": "print"});
    page.ask("Emulation.setEmulatedMedia", media).unwrap();
    page.wait_for("!document.querySelector('header').checkVisibility()")
        .unwrap();
}

#[test]
fn the_page_shows_and_does_what_it_says_in_a_browser() {
    needs_root();
    if !harness::has_program("chromium") {
        harness::skip("needs chromium, which is 300 MB: apt-get install chromium");
    }
    needs_program("hping3");
    let network = Network::new().unwrap();
    let bpffs = Bpffs::new("page", SETTINGS);
    let sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    let token = token(&sensor);
    let _ping = network
        .start("client", "ping -i 0.02 -s 900 -c 3000 10.99.1.1")
        .unwrap();
    network
        .run("attacker", "hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1")
        .unwrap();
    let launcher = format!("ip netns exec {}", network.namespace("server"));
    let mut browser = Browser::start(&launcher).unwrap();
    let page = &mut browser;
    network
        .run(
            "client",
            "hping3 -q -S -p ++1000 -i u1000 -c 3000 10.99.1.1",
        )
        .unwrap();
    let proposed = |source: &str| {
        let is_it =
            |v: &Value| v["decision.target"] == source && v["decision.outcome"] == "proposed";
        let found = sensor.wait_for(LIMIT, is_it);
        found.unwrap_or_else(|| panic!("{source}: {}", sensor.log()))
    };
    let (id, _other) = (proposed("10.99.2.2"), proposed("10.99.1.2"));
    log_in(page, &token);
    looks_right(page, "now");
    let count = "window.n = 0; new EventSource('/api/v1/live').addEventListener('status', () => { window.n += 1; }); true";
    page.wait_for(count).unwrap();
    page.wait_for("window.n >= 3").unwrap();
    picture(page, "now");
    keys(page);
    incident(page, id["incident.id"].as_str().unwrap());
    response(page);
    past(page);
    more(page);
    page.look((360, 780), "light").unwrap();
    page.go(&format!("{URL}#/now")).unwrap();
    page.wait_for(&has("open incidents")).unwrap();
    page.wait_for("document.querySelectorAll('canvas').length === 2")
        .unwrap();
    picture(page, "phone");
    click(page, "Log out");
    page.wait_for(&has("A token is made on the host")).unwrap();
    let elsewhere = |url: &&String| {
        let is_own = ["data:", "blob:", "about:"]
            .iter()
            .any(|own| url.starts_with(own));
        !is_own && !url.starts_with(URL)
    };
    let outside: Vec<&String> = page.asked.iter().filter(elsewhere).collect();
    assert!(page.asked.len() > 10 && outside.is_empty(), "{outside:?}");
    let is_expected = |error: &&String| error.contains("401");
    let others: Vec<&String> = page
        .errors
        .iter()
        .filter(|error| !is_expected(error))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
