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
const Address = ({ ip }) => html`<a href=${"#/look" + query({ q: "host " + ip + " last 24h" })}>${ip}</a>`;
const Tag = ({ word }) => html`<span class=${"tag " + word}>${word}</span>`;
function some(list, count, more) {
  const shown = (list || []).slice(0, 3);
  const rest = (count ?? shown.length) - shown.length;
  return html`${shown.map((ip, n) => html`${n ? ", " : ""}${more ? html`<${Address} ip=${ip}/>` : ip}`)}${rest > 0 ? ` and ${rest} more` : ""}`;
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
        <label>host or network<input name="host" value=${fields.host || ""} placeholder="192.0.2.0/24"/></label>
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
  async order(word, path, body, method) {
    try {
      await ask(path, body === undefined ? {} : body, method);
      this.setState({ done: word, error: "", dialog: null });
    } catch (error) { this.setState({ error: error.message, done: "", dialog: null }); }
    this.load();
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
    ].sort((a, b) => (a.at < b.at ? -1 : 1));
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
          <button onClick=${() => this.order("Held for benign: the models learn from it.", path + "/feedback", { feedback: "benign" })}>Benign</button>
          <button onClick=${() => this.order("Held for an attack: the models learn nothing from it.", path + "/feedback", { feedback: "attack" })}>Attack</button>
          <button onClick=${() => this.setState({ dialog: "mute" })}>Mute …</button></div>`}
        ${feedback && html`<p class="dim">Said to be <b>${feedback.feedback || feedback.said || ""}</b> until ${clock(feedback.until)}.</p>`}
      </section>
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
      ${story?.related.length > 0 && html`<section><h2>Related</h2><${Rows} list=${story.related}/></section>`}
      ${dialog === "mute" && html`<${Ask} title="Mute what this incident is about" danger="" yes="Mute" close=${() => this.setState({ dialog: null })}
        fields=${[["for", "for", "1", "hours", "number"], ["reason", "reason", "", "", "text"]]}
        done=${(given) => this.order("Muted.", path + "/mute", { for_s: Math.round(Number(given.for) * 3600), reason: given.reason })}/>`}`;
  }
}

class Ask extends Component {
  componentDidMount() { this.node.showModal(); }
  render({ title, text, yes, fields, close, done, danger }) {
    const send = (event) => { event.preventDefault(); done(Object.fromEntries(new FormData(event.currentTarget))); };
    return html`<dialog onClose=${close} ref=${(node) => { this.node = node || this.node; }}><form onSubmit=${send}><h2>${title}</h2>${text && html`<p>${text}</p>`}
      ${fields.map(([name, word, value, unit, type]) => html`<label>${word} ${unit}<input name=${name} type=${type} value=${value} step="any" required=${type === "number"}/></label>`)}
      <p class="bar"><button class=${danger ? "danger" : "main"}>${yes}</button><button type="button" onClick=${close}>Cancel</button></p></form></dialog>`;
  }
}

// ---- response ----

class Response extends Component {
  state = { blocks: null, shields: [], proposals: [], error: "", done: "", panic: false };
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
  render({ operates, status }, { blocks, shields, proposals, error, done, panic }) {
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
      <section><h2>Block entries (${blocks?.of ?? "…"})</h2><div class="scroll"><table>
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
      ${panic && html`<${Ask} title="Stop all enforcement?" text="Nothing is dropped from then on; everything is counted on. Entries stay and expire." danger="1" yes="Stop it"
        fields=${[]} close=${() => this.setState({ panic: false })} done=${() => this.order("Enforcement is stopped.", "/panic", {})}/>`}`;
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
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

class Look extends Component {
  state = { found: null, error: "", busy: false };
  componentDidMount() { this.load(); }
  componentDidUpdate(before) { if (before.fields.q !== this.props.fields.q) this.load(); }
  async load() {
    const q = this.props.fields.q ?? "last 1h";
    this.setState({ busy: true, error: "" });
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
  render({ fields }, { found, error, busy }) {
    const q = fields.q ?? "last 1h";
    const search = (event) => { event.preventDefault(); go("look", Object.fromEntries(new FormData(event.currentTarget))); };
    const narrow = (text) => "#/look" + query({ q: `${q} ${text}` });
    return html`<h1>Look back</h1>
      <form class="bar" onSubmit=${search} role="search"><label class="wide">host, net, port, proto, family, severity, since, until, last; and, or, not
        <input type="search" name="q" value=${q} spellcheck="false" autocomplete="off"/></label><button class="main">Search</button></form>
      ${error && html`<p class="note failed" role="alert">${error}</p>`}${busy && html`<p class="dim" role="status">Searching …</p>`}
      ${found && html`
        ${found.is_cut && html`<p class="note degraded">There is more: the latest are shown. Narrow it down.</p>`}
        ${found.left_out.length > 0 && html`<p class="dim">The expression says nothing of ${found.left_out.join(" and ")}.</p>`}
        ${found.flows.length + found.incidents.length > 0 && html`<section><h2>Time line (${zone})</h2><${Chart} bars="1" unit="" label="Flows and incidents over time" height=${150}
          series=${[["flows", "--in"], ["incidents", "--bad"]]} data=${this.line(found)} key=${q + found.flows.length}/></section>`}
        <section><h2>Incidents (${found.incidents.length})</h2><${Rows} list=${found.incidents}/></section>
        <section><h2>Flows (${found.flows.length}) ${found.flows.length > 0 && html`<button onClick=${() => download("flows.csv", COLUMNS, found.flows)}>CSV</button>`}</h2>
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

const VIEWS = [["now", "Now"], ["incidents", "Incidents"], ["response", "Response"], ["look", "Look back"]];

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
    for (const name of ["incident", "decision", "feedback", "lost"]) this.live.addEventListener(name, changed);
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
      : view === "look" ? html`<${Look} ...${shared}/>` : html`<${Now} ...${shared} history=${history}/>`;
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
