// The page: one file, no build. What it shows comes from the API of the agent, and nothing else.
import { h, render, Component } from "./preact.mjs";
import htm from "./htm.module.js";

const html = htm.bind(h);
const API = "/api/v1";
const SEVERITIES = ["low", "medium", "high", "critical"];
const LIVE_S = 180;

// ---- asking ----

class Refused extends Error {
  constructor(status, told) {
    super(told.error || `status ${status}`);
    this.status = status;
  }
}

async function ask(path, body, method) {
  const options = { method: method || (body === undefined ? "GET" : "POST"), headers: { "x-sensor": "1" } };
  if (body !== undefined && body !== null) options.body = JSON.stringify(body);
  const answer = await fetch(API + path, options);
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, told);
  return told;
}

function query(fields) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) if (value !== "" && value != null) all.set(name, value);
  const text = all.toString();
  return text ? "?" + text : "";
}

// ---- words ----

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
function scaled(value, unit) {
  if (value == null) return "–";
  const steps = ["", "k", "M", "G", "T"];
  let step = 0;
  while (Math.abs(value) >= 1000 && step < 4) { value /= 1000; step += 1; }
  return `${number.format(value)} ${steps[step]}${unit}`.trim();
}
const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts()
  .find((part) => part.type === "timeZoneName")?.value || "";
function pad(n) { return String(n).padStart(2, "0"); }
function clock(at) {
  const d = new Date(at);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}
function left(s) {
  if (s >= 86400) return `${Math.round(s / 3600)} h`;
  if (s >= 600) return `${Math.round(s / 60)} min`;
  return `${s} s`;
}
function origin(by) {
  if (!by) return "";
  const name = { incident: by.incident_id, operator: `user ${by.uid}`, token: `token ${by.token}`, feed: `list ${by.feed}` }[by.by] || by.by;
  return by.by === "incident" ? html`incident <a href=${"#/incidents/" + by.incident_id}>${short(by.incident_id)}</a>` : name;
}
function short(id) { return id.split("-")[0]; }
const Address = ({ ip }) => html`<a href=${"#/host/" + encodeURIComponent(ip)}>${ip}</a>`;
const Tag = ({ word }) => html`<span class=${"tag " + word}>${word}</span>`;
function some(list, count, more) {
  const shown = (list || []).slice(0, 3);
  const rest = (count ?? shown.length) - shown.length;
  return html`${shown.map((ip, n) => html`${n ? ", " : ""}${more ? html`<${Address} ip=${ip}/>` : ip}`)}${rest > 0 ? ` and ${rest} more` : ""}`;
}

// Text with its web addresses as links.
function linked(text) {
  return text.split(/(https:\/\/[^\s<>"]+)/).map((one, n) => (n % 2 ? html`<a href=${one} target="_blank" rel="noopener noreferrer">${one}</a>` : one));
}
// Hands a file to the browser.
function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  // A busy browser may begin late to read what it was handed.
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Saves packets of the ring; what became of it in words.
async function packets(path, name) {
  const answer = await fetch(API + path, { headers: { "x-sensor": "1" } });
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
  save(`${name}.pcapng`, "application/x-pcapng", await answer.arrayBuffer());
  const left_out = Number(answer.headers.get("x-sensor-left-out"));
  return `${number.format(Number(answer.headers.get("x-sensor-packets")))} packet samples saved${left_out ? `; ${number.format(left_out)} did not fit` : ""}${answer.headers.get("x-sensor-more-flows") === "1" ? ", of the flows shown; more match" : ""}.`;
}

// ---- the view in the address ----

function place() {
  const text = location.hash.replace(/^#\/?/, "");
  const [path, search] = text.split("?");
  const [view, id] = path.split("/");
  return { view: view || "now", id: id && decodeURIComponent(id), fields: Object.fromEntries(new URLSearchParams(search || "")) };
}
function go(view, fields) { location.hash = "#/" + view + query(fields); }

// ---- charts ----

function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888"; }
// A scheme's color as the canvas takes it: light-dark() is resolved by an element.
function resolved(name) {
  const probe = document.createElement("span");
  probe.className = "probe";
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found || color(name);
}

class Chart extends Component {
  componentDidMount() {
    this.make();
    this.watch = new ResizeObserver(() => this.plot && this.plot.setSize(this.size()));
    this.watch.observe(this.node);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.remake = () => { this.plot?.destroy(); this.make(); };
    this.scheme.addEventListener("change", this.remake);
  }
  componentWillUnmount() {
    this.watch.disconnect();
    this.scheme.removeEventListener("change", this.remake);
    this.plot?.destroy();
  }
  size() { return { width: Math.max(this.node.clientWidth, 200), height: this.props.height || 170 }; }
  make() {
    const { series, unit, bars } = this.props;
    const axis = { stroke: resolved("--dim"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false } };
    const show = (value) => scaled(value, unit);
    this.plot = new uPlot({
      ...this.size(),
      cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
      axes: [{ ...axis, size: 34, space: 90, values: (_, all, __, ___, step) => all.map((at) => clock(at * 1000).slice(11, step < 60 ? 19 : 16)) }, { ...axis, size: 76, values: (_, all) => all.map(show) }],
      series: [{ label: "time", value: (_, at) => (at == null ? "–" : clock(at * 1000)) }, ...series.map(([label, name]) => ({
        label, stroke: resolved(name), width: bars ? 0 : 1.5, fill: bars ? resolved(name) : undefined,
        paths: bars ? uPlot.paths.bars({ size: [0.8] }) : undefined, points: { show: false }, value: (_, value) => show(value),
      }))],
    }, this.props.data, this.node);
  }
  shouldComponentUpdate(next) {
    if (next.data !== this.props.data) this.plot?.setData(next.data);
    return false;
  }
  render() { return html`<div class="chart" role="img" aria-label=${this.props.label} ref=${(node) => { this.node = node || this.node; }}></div>`; }
}

// ---- now ----

class Now extends Component {
  state = { top: [], by: "bytes", error: "" };
  componentDidMount() { this.look(); this.timer = setInterval(() => this.look(), 2000); }
  componentWillUnmount() { clearInterval(this.timer); }
  async look() {
    try {
      const { rows } = await ask("/top" + query({ what: "hosts", by: this.state.by, limit: 12 }));
      this.setState({ top: rows, error: "" });
    } catch (error) { this.setState({ error: error.message }); }
  }
  render({ status, history }, { top, by, error }) {
    if (!status) return html`<p class="dim" role="status">Waiting for the agent …</p>`;
    const last = history[history.length - 1] || {};
    const times = history.map((point) => point.at);
    const column = (name) => history.map((point) => point[name]);
    const order = (name, word) => html`<th class="n"><button aria-pressed=${by === name}
      onClick=${() => { this.setState({ by: name }, () => this.look()); }}>${word}${by === name ? " ▾" : ""}</button></th>`;
    const tile = (value, word, link, kind) => html`<a class=${"tile " + (kind || "")} href=${link}><b>${value}</b><span>${word}</span></a>`;
    return html`<h1>Now</h1>
      <div class="tiles">
        ${tile(scaled(status.ingress.bytes_per_s * 8, "bit/s"), "in", "#/look")}
        ${tile(scaled(status.egress.bytes_per_s * 8, "bit/s"), "out", "#/look")}
        ${tile(scaled(status.ingress.packets_per_s, ""), "packets/s in", "#/look")}
        ${tile(scaled(last.drops, ""), status.mode === "enforce" ? "dropped/s" : "would be dropped/s", "#/response", last.drops > 0 ? "failed" : "")}
        ${tile(number.format(status.flows), "flows", "#/look")}
        ${tile(number.format(status.incidents_open), "open incidents", "#/incidents", status.incidents_open ? "degraded" : "")}
        ${tile(number.format(status.blocks), "block entries", "#/response")}
      </div>
      <div class="two">
        <section><h2>Bits per second</h2><${Chart} label="Bits per second, in and out" unit="bit/s"
          series=${[["in", "--in"], ["out", "--out"]]} data=${[times, column("in_bits"), column("out_bits")]}/></section>
        <section><h2>Packets per second</h2><${Chart} label="Packets per second, in, out and dropped" unit=""
          series=${[["in", "--in"], ["out", "--out"], ["dropped", "--bad"]]}
          data=${[times, column("in_packets"), column("out_packets"), column("drops")]}/></section>
      </div>
      <div class="two">
        <section><h2>Top talkers</h2>${error && html`<p class="failed">${error}</p>`}
          <div class="scroll"><table><thead><tr><th>host</th>${order("bytes", "bit/s in")}<th class="n">bit/s out</th>
            ${order("packets", "packets/s in")}<th class="n hide-small">packets/s out</th></tr></thead>
          <tbody>${top.map((row) => html`<tr key=${row["host.ip"]}><td><${Address} ip=${row["host.ip"]}/></td>
            <td class="n">${scaled(row["in.bytes_per_s"] * 8, "")}</td><td class="n">${scaled(row["out.bytes_per_s"] * 8, "")}</td>
            <td class="n">${scaled(row["in.packets_per_s"], "")}</td><td class="n hide-small">${scaled(row["out.packets_per_s"], "")}</td></tr>`)}
          ${top.length === 0 && html`<tr><td colspan="5" class="dim">Nobody is talking.</td></tr>`}</tbody></table></div></section>
        <section><h2>Health</h2><div class="scroll"><table><tbody>${[...status.health]
          .sort((a, b) => ["failed", "degraded", "ok"].indexOf(a.state) - ["failed", "degraded", "ok"].indexOf(b.state))
          .map((one) => html`<tr><td><${Tag} word=${one.state}/></td><td class="t">${one.check} ${one.of || ""}</td>
            <td>${one.finding}${one.remedy && html`<br/><span class="dim">${one.remedy}</span>`}</td></tr>`)}</tbody></table></div></section>
      </div>`;
  }
}

// ---- incidents ----

const Rows = ({ list }) => html`<div class="scroll"><table class="stack">
  <thead><tr><th>begin (${zone})</th><th>severity</th><th>family</th><th>from</th><th>to</th><th class="hide-small">state</th><th>what</th></tr></thead>
  <tbody>${list.map((one) => html`<tr key=${one["incident.id"]}>
    <td class="t"><a href=${"#/incidents/" + one["incident.id"]}>${clock(one["event.start"])}</a></td>
    <td><${Tag} word=${one.severity}/></td><td class="t">${one["incident.family"].replaceAll("_", " ")}</td>
    <td>${one["source.spoofed"] ? html`<span class="dim">forged</span>` : some(one["source.ips"], one["source.count"], true)}</td>
    <td>${some(one["destination.ips"], one["destination.ips.count"], true)}</td>
    <td class="hide-small">${one["incident.state"]}</td><td>${one.explanation}</td></tr>`)}
  ${list.length === 0 && html`<tr><td colspan="7" class="dim">No incident matches.</td></tr>`}</tbody></table></div>`;

class Incidents extends Component {
  state = { list: null, error: "" };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) {
    if (before.fields !== this.props.fields || before.changes !== this.props.changes) this.load();
  }
  async load() {
    const { severity, family, host } = this.props.fields;
    try {
      this.setState({ list: await ask("/incidents" + query({ severity, family, host, limit: 200 })), error: "" });
    } catch (error) { this.setState({ error: error.message }); }
  }
  render({ fields, status }, { list, error }) {
    const change = (event) => {
      event.preventDefault();
      go("incidents", Object.fromEntries(new FormData(event.currentTarget.form || event.currentTarget)));
    };
    const families = Object.keys(status?.incidents || {}).sort();
    return html`<h1>Incidents</h1>
      <form class="bar" onSubmit=${change}>
        <label>at least<select name="severity" value=${fields.severity || ""} onChange=${change}>
          <option value="">any</option>${SEVERITIES.map((one) => html`<option>${one}</option>`)}</select></label>
        <label>family<select name="family" value=${fields.family || ""} onChange=${change}>
          <option value="">any</option>${families.map((one) => html`<option>${one}</option>`)}</select></label>
        <label>host or network<input name="host" key=${fields.host} defaultValue=${fields.host || ""} placeholder="192.0.2.0/24"/></label>
        <button>Show</button></form>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}
      <section>${list ? html`<${Rows} list=${list}/>` : html`<p class="dim">Loading …</p>`}</section>`;
  }
}

const LEAST_BAR = 0.004;
function Evidence({ features }) {
  if (!features?.length) return null;
  return html`<section><h2>Evidence: seen (colored) against the most that is usual</h2><div class="bars">${features.map((one) => {
    const most = Math.max(one.observed, one.expected, 1e-9);
    const width = (value) => `${Math.max(value / most, LEAST_BAR) * 70}%`;
    return html`<span>${one.name.replaceAll("_", " ")}</span>
      <svg role="img" aria-label=${`${one.name}: ${one.observed} seen, ${one.expected} usual`}>
        <rect class="seen" x="0" y="2" height="11" width=${width(one.observed)}/>
        <rect class="usual" x="0" y="16" height="11" width=${width(one.expected)}/>
        <text x="72%" y="12">${number.format(one.observed)}</text><text x="72%" y="26">${number.format(one.expected)}</text></svg>`;
  })}</div></section>`;
}

class Incident extends Component {
  state = { told: null, story: null, waiting: [], error: "", done: "", dialog: null };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) { if (before.id !== this.props.id || before.changes !== this.props.changes) this.load(); }
  async load() {
    const path = "/incidents/" + encodeURIComponent(this.props.id);
    const or = (fallback) => () => fallback;
    const [told, story, waiting] = await Promise.all([
      ask(path).catch(or(null)), ask(path + "/story").catch(or(null)), ask("/proposals").catch(or({ proposals: [] })),
    ]);
    const error = told || story ? "" : "There is no such incident, or it is older than what is kept.";
    this.setState({ told, story, error, waiting: waiting.proposals.filter((one) => one["incident.id"] === this.props.id) });
  }
  async copy(text) {
    // Without TLS a browser has no clipboard for pages, but on loopback.
    try { await navigator.clipboard.writeText(text); this.setState({ done: "Copied.", error: "" }); }
    catch { this.setState({ error: "The browser does not let the page copy: mark the text.", done: "" }); }
  }
  async stix(path, id) {
    try { save(`${short(id)}.stix.json`, "application/stix+json", JSON.stringify(await ask(path + "/stix"), null, 2)); }
    catch (error) { this.setState({ error: error.message, done: "" }); }
  }
  async packets(path, id) {
    try { this.setState({ done: await packets(path + "/packets", short(id)), error: "" }); }
    catch (error) { this.setState({ error: error.message, done: "" }); }
  }
  async order(word, path, body, method) {
    try {
      await ask(path, body === undefined ? {} : body, method);
      this.setState({ done: word, error: "", dialog: null });
    } catch (error) { this.setState({ error: error.message, done: "", dialog: null }); }
    this.load();
    // The store writes once a second.
    setTimeout(() => this.load(), 1300);
  }
  render({ id, operates }, { told, story, waiting, error, done, dialog }) {
    const incident = told?.incident || story?.incident;
    if (!incident) return html`<h1>Incident ${short(id)}</h1><p class=${error ? "note failed" : "dim"}>${error || "Loading …"}</p>`;
    const path = "/incidents/" + encodeURIComponent(incident["incident.id"]);
    const decisions = story?.decisions || told?.decisions || [];
    const feedback = told?.feedback || story?.feedback;
    const line = [
      ...(story?.moments || []).map((one) => ({ at: one.at, text: html`${one.state}, <${Tag} word=${one.severity}/>` })),
      ...decisions.map((one) => ({ at: one["@timestamp"], text: html`${one["decision.action"]} of <${Address} ip=${one["decision.target"]}/> for ${left(one["decision.ttl_s"])}: <b>${one["decision.outcome"]}</b>${one["decision.outcome.rule"] ? ` (${one["decision.outcome.rule"]})` : ""}
        ${one["decision.outcome"] === "applied" && operates && html` <button onClick=${() => this.order("Undone.", `/decisions/${one["decision.id"]}/undo`)}>Undo</button>`}` })),
      ...(story?.remarks || []).map((one) => ({ at: one["@timestamp"], text: html`<b>${origin(one.by)}</b>: ${linked(one.remark)}
        ${one["incident.assignee"] != null ? ` in hand: ${one["incident.assignee"] || "nobody"}.` : ""}${one["incident.ticket"] ? html` Ticket ${linked(one["incident.ticket"])}.` : ""}` })),
    ].sort((a, b) => (a.at < b.at ? -1 : 1));
    const latest = (name) => [...(story?.remarks || [])].reverse().find((one) => one[name] != null)?.[name];
    const ends = [incident["event.start"], incident["event.end"]];
    const search = [...incident["source.ips"].slice(0, 1), ...incident["destination.ips"].slice(0, 1)].map((ip) => "host " + ip).join(" ");
    return html`<p><a href="#/incidents">Incidents</a></p>
      <h1>${incident["incident.family"].replaceAll("_", " ")} <${Tag} word=${incident.severity}/> <span class="dim">${short(id)}, ${incident["incident.state"]}</span></h1>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}${done && html`<p class="note ok" role="status">${done}</p>`}
      <section><p>${incident.explanation}</p>
        <p class="dim">${clock(ends[0])} to ${clock(ends[1])} ${zone}; ${incident["threat.technique.id"]} ${incident["threat.technique.name"]};
          found by ${incident.detectors.join(", ")}; evidence ${(incident["evidence.grades"] || []).join(", ") || "none"};
          confidence ${incident.confidence ?? "–"}</p>
        <p>From ${incident["source.spoofed"] ? "forged addresses" : some(incident["source.ips"], incident["source.count"], true)} to
          ${" "}${some(incident["destination.ips"], incident["destination.ips.count"], true)}${incident["destination.ports"].length > 0
            ? html`, ports ${some(incident["destination.ports"], incident["destination.ports.count"])}` : ""}.
          ${" "}<a href=${"#/look" + query({ q: `${search} since ${ends[0]} until ${ends[1]}` })}>Flows of that time</a></p>
        ${operates && html`<div class="bar">
          ${waiting.length > 0 && html`<button class="main" onClick=${() => this.order("Carried out.", `/proposals/${id}/approve`)}>Approve</button>
            <button onClick=${() => this.order("Refused.", `/proposals/${id}/reject`)}>Reject</button>`}
          <button onClick=${() => this.setState({ dialog: "benign" })}>Benign …</button>
          <button onClick=${() => this.setState({ dialog: "attack" })}>Attack …</button>
          <button onClick=${() => this.setState({ dialog: "mute" })}>Mute …</button>
          <button onClick=${() => this.setState({ dialog: "remark" })}>Remark …</button></div>`}
        ${(latest("incident.assignee") || latest("incident.ticket")) && html`<p>${latest("incident.assignee") ? `In hand: ${latest("incident.assignee")}. ` : ""}
          ${latest("incident.ticket") ? html`Ticket ${linked(latest("incident.ticket"))}.` : ""}</p>`}
        ${feedback && html`<p class="dim">Said to be <b>${feedback.feedback}</b> until ${clock(feedback.until)}${feedback["feedback.reason"] ? ": " + feedback["feedback.reason"] : ""}.</p>`}
      </section>
      ${incident.wireshark && html`<section><h2>Elsewhere</h2><p>Display filter for Wireshark 4 <button onClick=${() => this.copy(incident.wireshark)}>Copy</button></p><pre class="code">${incident.wireshark}</pre>
        <p>${operates && html`<button class="main" onClick=${() => this.packets(path, id)}>Packets (pcapng)</button>${" "}`}<button onClick=${() => this.stix(path, id)}>STIX 2.1</button>${" "}<span class="dim">On the host: <code>sensor evidence ${short(id)}</code></span></p></section>`}
      <div class="two"><div><${Evidence} features=${incident.features}/>
        <section><h2>In words</h2>${(told?.sentences || [incident.explanation]).map((one) => html`<p>${one}</p>`)}</section></div>
      <div><section><h2>Time line</h2><ol class="line">${line.map((one) => html`<li><span class="dim">${clock(one.at)}</span><br/>${one.text}</li>`)}
          ${line.length === 0 && html`<li class="dim">${clock(ends[0])} began</li>`}</ol></section>
        <section><h2>Response</h2>${incident.response.length === 0 && html`<p class="dim">None.</p>`}<ul>${incident.response.map((one) => html`<li>
          ${one["decision.target"] ? html`<${Address} ip=${one["decision.target"]}/>: ` : ""}${one["decision.action"] || "nothing"},
          ${" "}${one["decision.outcome"]}${one["decision.outcome.rule"] ? html` by rule <code>${one["decision.outcome.rule"]}</code>` : ""}
          ${one["decision.outcome.reason"] ? ` (${one["decision.outcome.reason"]})` : ""}${one["decision.policy"] ? html`; policy <code>${one["decision.policy"]}</code>` : ""}
          ${one["decision.proof"]?.length ? `; proof: ${one["decision.proof"].join(", ")}` : ""}
          ${one["decision.needs"]?.length ? html`; <b>a drop would need</b> ${one["decision.needs"].join(", ").replaceAll("_", " ")}` : ""}</li>`)}</ul></section></div></div>
      ${incident.statements?.length > 0 && html`<section><h2>Said by others</h2><p class="dim">No proof, and alone a reason for nothing.</p><ul>${incident.statements.map((one) => html`<li>
        <b>${one.by}</b> (${one.product}) of <${Address} ip=${one.about}/>: ${one.what}${one.weight != null ? `; weight ${one.weight}` : ""}${one.certainty != null ? `, certainty ${one.certainty}` : ""}${one.blocked ? "; stopped there" : ""}
        <span class="dim">${" "}${one.count > 1 ? `${one.count} times, ` : ""}last ${clock(one.last)}</span></li>`)}</ul></section>`}
      ${story?.related.length > 0 && html`<section><h2>Related</h2><${Rows} list=${story.related}/></section>`}
      ${SAID[dialog] && html`<${Ask} title=${SAID[dialog].title} text=${SAID[dialog].text} yes=${SAID[dialog].yes} close=${() => this.setState({ dialog: null })}
        fields=${[["reason", "reason", "", "", "text"]]}
        done=${(given) => this.order(SAID[dialog].done, path + "/feedback", { feedback: dialog, reason: given.reason })}/>`}
      ${dialog === "remark" && html`<${Ask} title="Remark" yes="Add" close=${() => this.setState({ dialog: null })}
        fields=${[["remark", "remark", "", "", "text"], ["assignee", "in hand", latest("incident.assignee") || "", "", "text"], ["ticket", "ticket", latest("incident.ticket") || "", "", "text"]]}
        done=${(given) => {
          const changed = (name, key) => (given[name] !== (latest(key) || "") ? { [name]: given[name] } : {});
          this.order("Added.", path + "/remarks", { remark: given.remark, ...changed("assignee", "incident.assignee"), ...changed("ticket", "incident.ticket") });
        }}/>`}
      ${dialog === "mute" && html`<${Ask} title="Mute what this incident is about" danger="" yes="Mute" close=${() => this.setState({ dialog: null })}
        fields=${[["for", "for", "1", "hours", "number"], ["reason", "reason", "", "", "text"]]}
        done=${(given) => this.order("Muted.", path + "/mute", { for_s: Math.round(Number(given.for) * 3600), reason: given.reason })}/>`}`;
  }
}

const SAID = {
  benign: { title: "This was benign?", text: "The models learn from it for a day. Detectors and blocks stay as they are.", yes: "It was benign", done: "Held for benign: the models learn from it." },
  attack: { title: "This was an attack?", text: "The models learn nothing from it for a day.", yes: "It was an attack", done: "Held for an attack: the models learn nothing from it." },
};

// Fields have a default and no value: a value would be set anew with each second's state, over what is being typed.
class Ask extends Component {
  componentDidMount() { this.node.showModal(); }
  render({ title, text, yes, fields, close, done, danger }) {
    const send = (event) => { event.preventDefault(); done(Object.fromEntries(new FormData(event.currentTarget))); };
    return html`<dialog onClose=${close} ref=${(node) => { this.node = node || this.node; }}><form onSubmit=${send}><h2>${title}</h2>${text && html`<p>${text}</p>`}
      ${fields.map(([name, word, value, unit, type]) => html`<label>${word} ${unit}<input name=${name} type=${type} defaultValue=${value} step="any" required=${type === "number"}/></label>`)}
      <p class="bar"><button class=${danger ? "danger" : "main"}>${yes}</button><button type="button" onClick=${close}>Cancel</button></p></form></dialog>`;
  }
}

// ---- response ----

class Response extends Component {
  state = { blocks: null, shields: [], proposals: [], error: "", done: "", panic: false, preview: null };
  componentDidMount() { this.load(); this.timer = setInterval(() => this.load(), 3000); }
  componentWillUnmount() { clearInterval(this.timer); }
  async load() {
    try {
      const [blocks, shields, waiting] = await Promise.all([ask("/blocks?limit=1000"), ask("/shields"), ask("/proposals")]);
      this.setState({ blocks, shields: shields.shields, proposals: waiting.proposals });
    } catch (error) { this.setState({ error: error.message }); }
  }
  async order(word, path, body) {
    try { await ask(path, body); this.setState({ done: word, error: "" }); } catch (error) { this.setState({ error: error.message, done: "" }); }
    this.setState({ panic: false });
    this.load();
  }
  // What an entry would have hit within the last hour is told before it is made.
  async preview(event) {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.currentTarget));
    try { this.setState({ preview: { given, ...await ask("/blocks/preview" + query({ network: given.target })) }, error: "" }); }
    catch (error) { this.setState({ error: error.message, preview: null, done: "" }); }
  }
  block({ target, minutes, reason, action }) {
    const rate = action === "limit" || action === "challenge" ? { rate_packets_per_s: 100 } : {};
    this.setState({ preview: null });
    this.order(`${target} is on the block-list.`, "/blocks", { targets: [target], ttl_s: Math.round(Number(minutes) * 60), action, reason, ...rate });
  }
  render({ operates, status, fields }, { blocks, shields, proposals, error, done, panic, preview }) {
    const scope = (one) => [one["network.transport"] || (one.protocol ? one.protocol : "all"), one.port || ""].join(" ").trim();
    const part = (one) => ({ protocol: one.protocol, port: one.port });
    return html`<h1>Response <span class="dim">mode ${status?.mode || ""}</span></h1>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}${done && html`<p class="note ok" role="status">${done}</p>`}
      ${operates && html`<div class="bar"><button class="danger" onClick=${() => this.setState({ panic: true })}>Stop all enforcement …</button>
        <button onClick=${() => this.order("Enforcement goes on.", "/panic", { end: true })}>Let it go on</button></div>`}
      <section><h2>Waiting for a person (${proposals.length})</h2><div class="scroll"><table><tbody>${proposals.map((one) => html`<tr>
        <td>${one["decision.action"]} <${Address} ip=${one["decision.target"]}/> for ${left(one["decision.ttl_s"])}</td><td>${one["decision.reason"]}</td>
        <td class="n">lapses in ${left(one["proposal.expires_in_s"])}</td><td class="t">${operates && html`
          <button class="main" onClick=${() => this.order("Carried out.", `/proposals/${one["decision.id"]}/approve`, {})}>Approve</button>${" "}
          <button onClick=${() => this.order("Refused.", `/proposals/${one["decision.id"]}/reject`, {})}>Reject</button>`}</td></tr>`)}</tbody></table></div></section>
      <section><h2>Block entries (${blocks?.of ?? "…"})</h2>
      ${operates && html`<form class="bar" onSubmit=${(event) => this.preview(event)}>
        <label>address or network<input name="target" required spellcheck="false" placeholder="192.0.2.7" defaultValue=${fields.target || ""}/></label>
        <label>action<select name="action">${["drop", "quarantine", "challenge", "limit"].map((one) => html`<option value=${one}>${one}${one === "limit" || one === "challenge" ? " beyond 100/s" : ""}</option>`)}</select></label>
        <label>minutes<input name="minutes" type="number" min="1" defaultValue="60" required/></label>
        <label class="wide">reason<input name="reason"/></label><button>Block …</button></form>`}<div class="scroll"><table>
        <thead><tr><th>target</th><th>action</th><th>scope</th><th class="n">left</th><th class="n">packets</th><th class="n">bytes</th><th>origin</th><th>reason</th><th></th></tr></thead>
        <tbody>${(blocks?.entries || []).map((one) => html`<tr><td><${Address} ip=${one.target}/></td><td>${one.action}${one.rate_packets_per_s ? ` ${one.rate_packets_per_s}/s` : ""}</td>
          <td>${scope(one)}</td><td class="n">${left(one.ttl_s)}</td><td class="n">${number.format(one.packets)}</td><td class="n">${scaled(one.bytes, "B")}</td>
          <td>${origin(one.origin)}</td><td>${one.reason}</td>
          <td>${operates && html`<button onClick=${() => this.order(`${one.target} is let go.`, "/blocks/remove", { target: one.target, scope: part(one) })}>Remove</button>`}</td></tr>`)}
        ${blocks?.entries.length === 0 && html`<tr><td colspan="9" class="dim">Nothing is blocked.</td></tr>`}</tbody></table></div></section>
      <section><h2>Shields (${shields.length})</h2><div class="scroll"><table>
        <thead><tr><th>address</th><th>scope</th><th>measures</th><th class="n">left</th><th class="n">answered</th><th class="n">completed</th><th class="n">held</th><th>origin</th><th>reason</th><th></th></tr></thead>
        <tbody>${shields.map((one) => html`<tr><td>${one.address}</td><td>${scope(one)}</td><td>${one.measures.join(", ")}</td><td class="n">${left(one.ttl_s)}</td>
          <td class="n">${number.format(one.answered)}</td><td class="n">${number.format(one.completed)}</td><td class="n">${number.format(one.held)}</td><td>${origin(one.origin)}</td><td>${one.reason}</td>
          <td>${operates && html`<button onClick=${() => this.order("The shield ends.", "/shields/remove", { address: one.address, scope: part(one) })}>End</button>`}</td></tr>`)}
        ${shields.length === 0 && html`<tr><td colspan="10" class="dim">No shield is armed.</td></tr>`}</tbody></table></div></section>
      ${preview && html`<${Ask} title=${`Block ${preview.target}?`} danger=${preview.sources_good > 0} yes="Block it" fields=${[]} close=${() => this.setState({ preview: null })}
        text=${preview.refused ? `It would be refused: ${preview.refused}` : `Within the last hour: ${number.format(preview.sources)} sources, ${number.format(preview.sources_good)} of them good peers with ${number.format(preview.connections)} connections; ${number.format(preview.flows)} flows now; ${number.format(preview.incidents)} incidents.`}
        done=${() => this.block(preview.given)}/>`}
      ${panic && html`<${Ask} title="Stop all enforcement?" text="Nothing is dropped from then on; everything is counted on. Entries stay and expire." danger="1" yes="Stop it"
        fields=${[]} close=${() => this.setState({ panic: false })} done=${() => this.order("Enforcement is stopped.", "/panic", {})}/>`}`;
  }
}

// ---- a host ----

// As in sensor/record/src/technique.rs; a test compares them.
const TACTICS = ["Reconnaissance", "Initial Access", "Persistence", "Defense Evasion", "Credential Access", "Discovery", "Lateral Movement", "Command and Control", "Exfiltration", "Impact"];
const DAYS = [["1d", "a day"], ["7d", "a week"], ["30d", "a month"]];

// The greatest sums of a list by a key.
function summed(list, key, value, most) {
  const sums = new Map();
  for (const one of list) { const name = key(one); if (name) sums.set(name, (sums.get(name) || 0) + value(one)); }
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, most);
}

class Host extends Component {
  state = { found: null, error: "" };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) { if (before.id !== this.props.id || before.fields.last !== this.props.fields.last || before.changes !== this.props.changes) this.load(); }
  async load() {
    const { id, fields } = this.props;
    try { this.setState({ found: await ask("/query" + query({ q: `host ${id} last ${fields.last || "7d"}`, limit: 1000 })), error: "" }); }
    catch (error) { this.setState({ error: error.message }); }
  }
  render({ id, fields, operates }, { found, error }) {
    const last = fields.last || "7d";
    const here = (span) => `#/host/${encodeURIComponent(id)}` + query({ last: span });
    if (!found) return html`<h1>${id}</h1><p class=${error ? "note failed" : "dim"}>${error || "Loading …"}</p>`;
    const incidents = [...found.incidents].sort((a, b) => (a["event.start"] < b["event.start"] ? -1 : 1));
    const is_source = (one) => one["source.ips"].includes(id);
    const as_source = incidents.filter(is_source), as_victim = incidents.filter((one) => !is_source(one));
    const of_tactic = (name) => as_source.filter((one) => one["threat.tactic.name"] === name);
    const starts = found.flows.map((one) => one["event.start"]).sort();
    const peer = (one) => (one["source.ip"] === id ? one["destination.ip"] : one["source.ip"]);
    const bytes = (one) => one["source.bytes"] + one["destination.bytes"];
    const service = (one) => `${one["source.ip"] === id ? "uses" : "serves"} ${one["network.transport"]} ${one["destination.port"] || ""}`.trim();
    const Sums = ({ title, list, word, link }) => html`<section><h2>${title}</h2><div class="scroll"><table><tbody>${list.map(([name, n]) => html`<tr>
      <td>${link ? html`<${Address} ip=${name}/>` : name}</td><td class="n">${word(n)}</td></tr>`)}
      ${list.length === 0 && html`<tr><td class="dim">None.</td></tr>`}</tbody></table></div></section>`;
    return html`<h1>${id}</h1>
      <p class="bar">${DAYS.map(([span, word]) => html`<a class="choice" href=${here(span)} aria-current=${span === last ? "true" : undefined}>${word}</a>`)}
        <a href=${"#/look" + query({ q: `host ${id} last ${last}` })}>Flows and incidents</a>
        ${operates && html`<a href=${"#/response" + query({ target: id })}>Block …</a>`}</p>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}
      <section><p>${as_source.length} incidents with it as a source, ${as_victim.length} with it as a victim, ${number.format(found.flows.length)}${found.is_cut ? " or more" : ""} flows${starts.length
        ? html`; first ${clock(starts[0])}, last ${clock(starts[starts.length - 1])} ${zone}` : ""}.</p>
        <ol class="chain" aria-label="What it did, by tactic">${TACTICS.map((name) => html`<li class=${of_tactic(name).length ? "met" : ""}><span>${name}</span><b>${of_tactic(name).length || "–"}</b></li>`)}</ol></section>
      <section><h2>What it did</h2><ol class="line">${as_source.map((one) => html`<li><span class="dim">${clock(one["event.start"])} · ${one["threat.tactic.name"] || "–"}</span><br/>
        <a href=${"#/incidents/" + one["incident.id"]}>${one["incident.family"].replaceAll("_", " ")}</a> <${Tag} word=${one.severity}/> ${one.explanation}</li>`)}
        ${as_source.length === 0 && html`<li class="dim">No incident names it as a source.</li>`}</ol></section>
      ${as_victim.length > 0 && html`<section><h2>What was done to it</h2><${Rows} list=${as_victim}/></section>`}
      <div class="two"><${Sums} title="Peers, by bytes" link="1" list=${summed(found.flows, peer, bytes, 10)} word=${(n) => scaled(n, "B")}/>
        <${Sums} title="Services, by flows" list=${summed(found.flows, service, () => 1, 10)} word=${(n) => number.format(n)}/></div>`;
  }
}

// ---- models ----

class Models extends Component {
  state = { told: null, report: null, error: "" };
  componentDidMount() { this.load(); }
  async load() {
    const now = Date.now(), month = { since: new Date(now - 30 * 86400e3).toISOString(), until: new Date(now).toISOString() };
    try {
      const [told, report] = await Promise.all([ask("/models"), ask("/report" + query(month)).catch(() => null)]);
      this.setState({ told, report, error: "" });
    } catch (error) { this.setState({ error: error.message }); }
  }
  render(_, { told, report, error }) {
    if (!told) return html`<h1>Models</h1><p class=${error ? "note failed" : "dim"}>${error || "Loading …"}</p>`;
    const alarms = Object.entries(told.alarms_of_day).sort((a, b) => b[1] - a[1]);
    const n_alarms = alarms.reduce((sum, [, n]) => sum + n, 0);
    const judged = (report?.families || []).filter((one) => one.attacks + one.benign > 0);
    const settings = Object.entries(told.settings).filter(([, part]) => part && typeof part === "object" && !Array.isArray(part));
    return html`<h1>Models</h1>
      <div class="tiles"><div class=${"tile " + (n_alarms > told.alarm_budget ? "degraded" : "")}><b>${n_alarms} of ${told.alarm_budget}</b><span>alarms of the last 24 h, of the budget</span></div>
        <div class="tile"><b>${scaled(told.vectors, "")}</b><span>windows scored</span></div>
        <div class="tile"><b>${scaled(told.vectors_withheld, "")}</b><span>of them not learned from</span></div>
        <div class="tile"><b>${number.format(told.drifts)}</b><span>changes of the traffic</span></div>
        <div class=${"tile " + (told.adapting ? "degraded" : "")}><b>${told.adapting}</b><span>kinds being recalibrated now</span></div></div>
      <div class="two"><section><h2>Streaming models</h2><div class="scroll"><table><tbody>${Object.entries(told.models).map(([name, is_active]) => html`<tr>
          <td>${name.replaceAll("_", " ")}</td><td><${Tag} word=${is_active ? "ok" : "off"}/></td></tr>`)}</tbody></table></div></section>
        <section><h2>Alarms of the last 24 h</h2><div class="scroll"><table><tbody>${alarms.map(([name, n]) => html`<tr>
          <td><a href=${"#/incidents" + query({ family: name })}>${name.replaceAll("_", " ")}</a></td><td class="n">${n}</td></tr>`)}
          ${alarms.length === 0 && html`<tr><td class="dim">None.</td></tr>`}</tbody></table></div></section></div>
      <section><h2>Feedback of the last 30 days</h2><div class="scroll"><table><thead><tr><th>family</th><th class="n">attacks</th><th class="n">benign</th><th class="n">attacks, of the judged</th></tr></thead>
        <tbody>${judged.map((one) => html`<tr><td>${one.family.replaceAll("_", " ")}</td><td class="n">${one.attacks}</td><td class="n">${one.benign}</td><td class="n">${part(one)}</td></tr>`)}
        ${judged.length === 0 && html`<tr><td colspan="4" class="dim">Nobody has judged an incident.</td></tr>`}</tbody></table></div></section>
      ${told.exceptions.length > 0 && html`<section><h2>Exceptions, and what is muted</h2><div class="scroll"><table><thead><tr><th>reason</th><th class="n">findings</th><th>until</th></tr></thead>
        <tbody>${told.exceptions.map((one) => html`<tr><td>${one.reason}</td><td class="n">${number.format(one.findings)}</td><td class="t">${one.until ? clock(one.until) : "–"}${one.expired ? " (over)" : ""}</td></tr>`)}</tbody></table></div></section>`}
      <section><h2>Thresholds in force</h2>${settings.map(([name, values]) => html`<details><summary>${name}</summary><div class="scroll"><table><tbody>${Object.entries(values).map(([key, value]) => html`<tr>
        <td><code>engine.${name}.${key}</code></td><td class="n">${typeof value === "object" ? JSON.stringify(value) : String(value)}</td></tr>`)}</tbody></table></div></details>`)}</section>`;
  }
}

// ---- report ----

function part({ attacks, benign }) { return attacks + benign ? `${Math.round((100 * attacks) / (attacks + benign))} % of ${attacks + benign}` : "–"; }

class Report extends Component {
  state = { told: null, error: "" };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) { if (before.fields !== this.props.fields) this.load(); }
  span() {
    const { from, to } = this.props.fields;
    const day = (text, other) => (text && !Number.isNaN(Date.parse(text)) ? new Date(text + "T00:00:00") : other);
    const until = to ? new Date(day(to, new Date()).getTime() + 86400e3 - 1) : new Date();
    return [day(from, new Date(Date.now() - 7 * 86400e3)), until];
  }
  async load() {
    const [since, until] = this.span();
    try { this.setState({ told: await ask("/report" + query({ since: since.toISOString(), until: until.toISOString() })), error: "" }); }
    catch (error) { this.setState({ error: error.message, told: null }); }
  }
  render({ fields, status }, { told, error }) {
    const change = (event) => { event.preventDefault(); go("report", Object.fromEntries(new FormData(event.currentTarget))); };
    const day = (at) => clock(at).slice(0, 10);
    const [since, until] = this.span();
    const total = (of) => SEVERITIES.reduce((sum, name) => sum + of[name], 0);
    const most = told ? Math.max(1, ...told.steps.map(total)) : 1;
    const Hosts = ({ title, list }) => html`<section><h2>${title}</h2><table><tbody>${list.map((one) => html`<tr><td><${Address} ip=${one.address}/></td><td class="n">${one.incidents}</td></tr>`)}
      ${list.length === 0 && html`<tr><td class="dim">None.</td></tr>`}</tbody></table></section>`;
    return html`<h1>Report <span class="dim">of ${status?.["host.name"] || "the sensor"}, ${day(since)} to ${day(until)}</span></h1>
      <form class="bar no-print" onSubmit=${change}><label>from<input type="date" name="from" defaultValue=${fields.from || day(since)}/></label>
        <label>to<input type="date" name="to" defaultValue=${fields.to || day(until)}/></label><button>Show</button>
        <button type="button" class="main" onClick=${() => print()}>Print, or save as PDF</button></form>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}
      ${told && html`<section><p><b>${total(told.incidents)} incidents</b>: ${[...SEVERITIES].reverse().map((name) => `${told.incidents[name]} ${name}`).join(", ")}; ${told.before} in as long a time before.</p></section>
      <section><h2>Incidents by family</h2><div class="scroll"><table><thead><tr><th>family</th>${[...SEVERITIES].reverse().map((name) => html`<th class="n">${name}</th>`)}<th class="n">before</th><th class="n">attacks by feedback</th></tr></thead>
        <tbody>${told.families.map((one) => html`<tr><td>${one.family.replaceAll("_", " ")}</td>${[...SEVERITIES].reverse().map((name) => html`<td class="n">${one[name]}</td>`)}
          <td class="n">${one.before}</td><td class="n">${part(one)}</td></tr>`)}
        ${told.families.length === 0 && html`<tr><td colspan="7" class="dim">None.</td></tr>`}</tbody></table></div>
        <p class="dim">By feedback: the part of the judged incidents that a person held for an attack. What nobody found is not known, so no recall is told.</p></section>
      <section><h2>Incidents by ${told.step_s < 86400 ? "hour" : "day"} (${zone})</h2><table><tbody>${told.steps.map((one) => html`<tr><td class="t">${clock(one.at).slice(0, told.step_s < 86400 ? 16 : 10)}</td>
        <td class="n">${total(one)}</td><td class="half"><svg class="trend" aria-hidden="true"><rect class="seen" width=${`${(100 * total(one)) / most}%`} height="12"/></svg></td></tr>`)}
        ${told.steps.length === 0 && html`<tr><td class="dim">None.</td></tr>`}</tbody></table></section>
      <section><h2>Response</h2><table><tbody>${told.decisions.map((one) => html`<tr><td>${one.action}</td><td>${one.outcome}</td><td class="n">${one.decisions}</td></tr>`)}
        ${told.decisions.length === 0 && html`<tr><td class="dim">No decision.</td></tr>`}</tbody></table></section>
      <div class="two"><${Hosts} title="Sources that most incidents name" list=${told.sources}/><${Hosts} title="Victims that most incidents name" list=${told.victims}/></div>`}`;
  }
}

// ---- look back ----

const COLUMNS = ["event.start", "event.end", "source.ip", "source.port", "destination.ip", "destination.port", "network.transport",
  "source.packets", "source.bytes", "destination.packets", "destination.bytes", "flow.end_reason"];
function cell(value) {
  let text = String(value ?? "");
  // What a spreadsheet would take for a formula stays text.
  if (/^[=+\-@\t\r]/.test(text)) text = "'" + text;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
function download(name, columns, rows) {
  const lines = [columns.join(","), ...rows.map((row) => columns.map((column) => cell(row[column])).join(","))];
  save(name, "text/csv", lines.join("\r\n") + "\r\n");
}

class Look extends Component {
  state = { found: null, error: "", busy: false };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) { if (before.fields.q !== this.props.fields.q) this.load(); }
  async load() {
    const q = this.props.fields.q ?? "last 1h";
    this.setState({ busy: true, error: "", done: "" });
    try { this.setState({ found: await ask("/query" + query({ q, limit: 1000 })), busy: false }); }
    catch (error) { this.setState({ error: error.message, found: null, busy: false }); }
  }
  // Numbers of flows and incidents in sixty stretches of the time that they span.
  line({ flows, incidents }) {
    const times = (list) => list.map((one) => Date.parse(one["event.start"]) / 1000);
    const [of_flows, of_incidents] = [times(flows), times(incidents)];
    const all = [...of_flows, ...of_incidents];
    const first = Math.min(...all), span = Math.max(Math.max(...all) - first, 60);
    const step = span / 60, data = [[], [], []];
    for (let n = 0; n < 61; n += 1) { data[0].push(first + n * step); data[1].push(0); data[2].push(0); }
    for (const [row, list] of [[1, of_flows], [2, of_incidents]]) for (const at of list) data[row][Math.floor((at - first) / step)] += 1;
    return data;
  }
  async packets(q) {
    try { this.setState({ done: await packets("/packets" + query({ q, limit: 1000 }), "flows"), error: "" }); }
    catch (error) { this.setState({ error: error.message, done: "" }); }
  }
  render({ fields, operates }, { found, error, busy, done }) {
    const q = fields.q ?? "last 1h";
    const search = (event) => { event.preventDefault(); go("look", Object.fromEntries(new FormData(event.currentTarget))); };
    const narrow = (text) => "#/look" + query({ q: `${q} ${text}` });
    return html`<h1>Look back</h1>
      <form class="bar" onSubmit=${search} role="search"><label class="wide">host, net, port, proto, family, severity, since, until, last; and, or, not
        <input type="search" name="q" key=${q} defaultValue=${q} spellcheck="false" autocomplete="off"/></label><button class="main">Search</button></form>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}${busy && html`<p class="dim" role="status">Searching …</p>`}
      ${found && html`
        ${found.is_cut && html`<p class="note degraded">There is more: the latest are shown. Narrow it down.</p>`}
        ${found.left_out.length > 0 && html`<p class="dim">The expression says nothing of ${found.left_out.join(" and ")}.</p>`}
        ${found.flows.length + found.incidents.length > 0 && html`<section><h2>Time line (${zone})</h2><${Chart} bars="1" unit="" label="Flows and incidents over time" height=${150}
          series=${[["flows", "--in"], ["incidents", "--bad"]]} data=${this.line(found)} key=${q + found.flows.length}/></section>`}
        <section><h2>Incidents (${found.incidents.length})</h2><${Rows} list=${found.incidents}/></section>
        <section><h2>Flows (${found.flows.length}) ${found.flows.length > 0 && html`<button onClick=${() => download("flows.csv", COLUMNS, found.flows)}>CSV</button>${" "}${operates && html`<button onClick=${() => this.packets(q)}>PCAP</button>`}`}</h2>${done && html`<p class="note ok" role="status">${done}</p>`}
          <div class="scroll"><table><thead><tr><th>begin (${zone})</th><th>source</th><th>destination</th><th>protocol</th><th class="n">sent</th><th class="n">received</th><th class="hide-small">end</th></tr></thead>
          <tbody>${found.flows.map((one) => html`<tr><td class="t">${clock(one["event.start"])}</td>
            <td class="t"><a href=${narrow("host " + one["source.ip"])}>${one["source.ip"]}</a> <span class="dim">${one["source.port"] || ""}</span></td>
            <td class="t"><a href=${narrow("host " + one["destination.ip"])}>${one["destination.ip"]}</a> <a href=${narrow("port " + one["destination.port"])}>${one["destination.port"] || ""}</a></td>
            <td>${one["network.transport"]}</td><td class="n">${scaled(one["source.bytes"], "B")}</td><td class="n">${scaled(one["destination.bytes"], "B")}</td>
            <td class="hide-small">${one["flow.end_reason"]}</td></tr>`)}
          ${found.flows.length === 0 && html`<tr><td colspan="7" class="dim">No flow matches.</td></tr>`}</tbody></table></div></section>`}`;
  }
}

// ---- all of it ----

class Login extends Component {
  state = { error: "" };
  componentDidMount() { if (this.props.token) this.enter(this.props.token); }
  async enter(token) {
    try { await ask("/login", { token: token.trim() }); this.props.done(); } catch (error) { this.setState({ error: error.message }); }
  }
  render(_, { error }) {
    return html`<form class="card login" onSubmit=${(event) => { event.preventDefault(); this.enter(new FormData(event.currentTarget).get("token")); }}>
      <h1>sensor</h1><p class="dim">A token is made on the host: <code>sensor token add NAME</code></p>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}
      <label>token<input name="token" type="password" autocomplete="current-password" required autofocus/></label><button class="main">Log in</button></form>`;
  }
}

const VIEWS = [["now", "Now"], ["incidents", "Incidents"], ["response", "Response"], ["look", "Look back"], ["models", "Models"], ["report", "Report"]];

class App extends Component {
  state = { me: null, asked: false, place: place(), status: null, history: [], changes: 0, lost: false };
  componentDidMount() {
    // A token in the address is used once and taken out of it.
    const token = /[#&]token=([^&]+)/.exec(location.hash)?.[1];
    if (token) { history.replaceState(null, "", location.pathname); this.setState({ place: place(), token }); }
    addEventListener("hashchange", () => { this.setState({ place: place() }); scrollTo(0, 0); });
    addEventListener("keydown", (event) => this.key(event));
    this.who();
  }
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const at = Number(event.key) - 1;
    if (VIEWS[at]) go(VIEWS[at][0], {});
    if (event.key === "/") { event.preventDefault(); go("look", {}); setTimeout(() => document.querySelector("input[type=search]")?.focus(), 50); }
  }
  async who() {
    try {
      const me = await ask("/me");
      this.setState({ me, asked: true, token: null });
      await this.past();
      this.follow();
    } catch (error) { this.setState({ me: null, asked: true, down: error.status !== 401 && error.message }); }
  }
  async past() {
    const now = Date.now();
    const points = await ask("/rates" + query({ since: new Date(now - LIVE_S * 1000).toISOString(), until: new Date(now).toISOString() })).catch(() => []);
    const history = points.filter((one) => one.name === "all").map((one) => ({ at: Date.parse(one.at) / 1000, in_bits: one.in_bytes_per_s * 8,
      out_bits: one.out_bytes_per_s * 8, in_packets: one.in_packets_per_s, out_packets: one.out_packets_per_s, drops: null }));
    this.setState({ history });
  }
  follow() {
    this.live?.close();
    this.live = new EventSource(API + "/live");
    this.live.addEventListener("status", (event) => this.take(JSON.parse(event.data)));
    const changed = () => { clearTimeout(this.soon); this.soon = setTimeout(() => this.setState((now) => ({ changes: now.changes + 1 })), 300); };
    for (const name of ["incident", "decision", "feedback", "remark", "lost"]) this.live.addEventListener(name, changed);
    this.live.onerror = () => { this.setState({ lost: true }); if (this.live.readyState === 2) setTimeout(() => this.who(), 3000); };
  }
  take(status) {
    const dropped = (one) => one ? Object.entries(one.events).filter(([name]) => name === "dropped" || name === "would_drop").reduce((sum, [, n]) => sum + n, 0) : null;
    const now = Date.now() / 1000;
    const before = this.state.status;
    const s = before ? Math.max(status.uptime_s - before.uptime_s, 0.1) : 1;
    const drops = before ? Math.max(dropped(status) - dropped(before), 0) / s : 0;
    const point = { at: now, in_bits: status.ingress.bytes_per_s * 8, out_bits: status.egress.bytes_per_s * 8,
      in_packets: status.ingress.packets_per_s, out_packets: status.egress.packets_per_s, drops };
    this.setState({ status, lost: false, history: [...this.state.history.filter((one) => one.at > now - LIVE_S && one.at < now), point] });
  }
  async leave() { this.live?.close(); await ask("/logout", {}).catch(() => {}); this.setState({ me: null, status: null }); }
  render(_, { me, asked, down, place: { view, id, fields }, status, history, changes, lost, token }) {
    if (!asked) return html`<p class="dim card login">Loading …</p>`;
    if (!me) return down ? html`<p class="note failed login" role="alert">${down}</p>` : html`<${Login} token=${token} done=${() => this.who()}/>`;
    const operates = me.rights === "operate";
    const shared = { status, changes, operates, fields };
    const shown = id && view === "incidents" ? html`<${Incident} key=${id} id=${id} ...${shared}/>`
      : view === "incidents" ? html`<${Incidents} ...${shared}/>` : view === "response" ? html`<${Response} ...${shared}/>`
      : view === "look" ? html`<${Look} ...${shared}/>` : view === "models" ? html`<${Models} ...${shared}/>` : view === "report" ? html`<${Report} ...${shared}/>`
      : view === "host" && id ? html`<${Host} key=${id} id=${id} ...${shared}/>` : html`<${Now} ...${shared} history=${history}/>`;
    return html`<header><strong>sensor</strong><nav aria-label="Views">${VIEWS.map(([name, word], n) => html`<a href=${"#/" + name}
        aria-current=${view === name ? "page" : undefined} title=${`key ${n + 1}`}>${word}</a>`)}</nav>
      <span class="who">${lost ? html`<span class="failed" role="alert">connection lost</span>` : status && html`<span>${status["host.name"]}</span>`}
        <span>${me.name} (${me.rights})</span>${me.can_leave && html`<button onClick=${() => this.leave()}>Log out</button>`}</span></header>
      <main>${shown}</main>`;
  }
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App}/>`, root);
