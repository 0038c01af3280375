"use strict";
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const text = (tag, words, cls) => { const e = document.createElement(tag); e.textContent = words ?? ""; if (cls) e.className = cls; return e; };
const num = (v, digits = 0) => v === null || v === undefined ? "" : Number(v).toFixed(digits);

// ---- the run -------------------------------------------------------------------------------------------------------
function head() {
  const s = RUN.setting;
  $("verdict").textContent = RUN.passed ? "every pass line holds" : "a pass line is missed";
  $("verdict").className = RUN.passed ? "ok" : "bad";
  const n = s.network, parts = [];
  if (n.loss) parts.push(`${n.loss * 100} % loss`);
  if (n.jitter_ms) parts.push(`${n.jitter_ms} ms jitter`);
  if (n.delay_ms) parts.push(`${n.delay_ms} ms delay`);
  $("setting").textContent = `${s.scenarios.join(", ")} over ${s.via}, network ${parts.join(", ") || "clean"}, ${s.calls} calls (${s.concurrency} at once), seed ${s.seed}, ${s.began}, ${s.cpus} CPUs. ` +
    `${RUN.trials.length} trials. Gate and probability are made again from the captured audio by the server's own ear.`;
  for (const v of RUN.pass) {
    const tile = text("div", "", "tile " + (v.ok ? "ok" : "bad"));
    tile.append(text("b", v.measured === null ? "-" : num(v.measured, v.measured < 10 ? 2 : 0)),
      text("span", `${v.metric} ${v.metric === "failures" || single(v.metric) ? "" : v.stat} \u2264 ${v.at_most}`));
    $("tiles").append(tile);
  }
  fill($("figures"), ["figure", "n", "p50", "p95", "p99", "max"], RUN.figures.map((f) =>
    f.single ? [f.name, "", "", "", "", num(f.of.max, 2)] : [f.name, f.of.n, num(f.of.p50, 1), num(f.of.p95, 1), num(f.of.p99, 1), num(f.of.max, 1)]));
  fill($("rows"), ["condition", "counts for", "onsets", "p50", "p95", "p99", "\u2264 250 ms %", "missed", "early", "bot silent", "bot min", "false holds", "per min", "false commits"],
    RUN.rows.map((r) => [r.condition, r.counts, r.onsets || "", num(r.stop?.p50), num(r.stop?.p95), num(r.stop?.p99), num(r.within_250_percent, 1), r.onsets ? r.missed : "",
      r.early || "", r.bot_silent || "", num(r.minutes, 1), r.false_holds, r.minutes > 0.1 ? num(r.false_holds / r.minutes, 2) : "", r.false_commits]));
}
const single = (name) => RUN.figures.some((f) => f.name === name && f.single);
function fill(table, heads, rows) {
  const top = table.createTHead().insertRow();
  heads.forEach((h) => top.append(text("th", h)));
  const body = table.createTBody();
  rows.forEach((cells) => { const row = body.insertRow(); cells.forEach((c) => row.append(text("td", c))); });
}

// ---- the list ------------------------------------------------------------------------------------------------------
const COLUMNS = [["id", "trial", (t) => t.id], ["condition", "condition", (t) => t.condition], ["what", "noise, words", (t) => [t.noise, t.words?.split("/").pop()].filter(Boolean).join(", ")],
  ["result", "outcome", (t) => t.result], ["stop_ms", "stop ms", (t) => t.stop_ms], ["false_holds", "false holds", (t) => t.false_holds, "held for nothing / given up for nothing"]];
let order = { by: "stop_ms", down: true }, shown = [], current = null, cache = {}, loading = null;
function rank(t) {
  if (order.by === "stop_ms") return t.result === "missed" ? 1e6 : t.stop_ms ?? -1;
  return COLUMNS.find((c) => c[0] === order.by)[2](t) ?? "";
}
function list() {
  const condition = $("condition").value, result = $("result").value, words = $("search").value.toLowerCase();
  shown = RUN.trials.filter((t) => (!condition || t.condition === condition) && fits(t, result) &&
    (!words || `${t.id} ${t.noise} ${t.words} ${t.condition}`.toLowerCase().includes(words)));
  shown.sort((a, b) => { const [x, y] = [rank(a), rank(b)]; return (x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1) * (order.down ? -1 : 1); });
  $("count").textContent = `${shown.length} of ${RUN.trials.length}`;
  const top = document.querySelector("#list thead"), body = document.querySelector("#list tbody");
  top.replaceChildren(document.createElement("tr")); body.replaceChildren();
  for (const [key, name, , title] of COLUMNS) {
    const th = text("th", name, ["condition", "what", "result"].includes(key) ? "l" : "");
    if (title) th.title = title;
    if (key === order.by) th.classList.add("by", ...(order.down ? [] : ["up"]));
    th.onclick = () => { order = { by: key, down: order.by === key ? !order.down : true }; list(); };
    top.rows[0].append(th);
  }
  for (const t of shown) {
    const row = body.insertRow();
    row.id = "row-" + t.id; row.onclick = () => open(t.id);
    if (current && t.id === current.id) row.className = "on";
    const late = t.result === "stopped" && t.stop_ms > 250;
    row.append(text("td", t.id), text("td", t.condition, "l"), text("td", COLUMNS[2][2](t), "l what"),
      text("td", late ? "late" : t.result, "l " + (late ? "late" : t.result.split(" ").pop())), text("td", num(t.stop_ms)),
      text("td", t.false_holds ? `${t.false_holds} / ${t.false_commits}` : ""));
  }
}
const OUTCOMES = { "": () => true, "late or missed": (t) => t.result === "missed" || t.stop_ms > 250, "false holds": (t) => t.false_holds > 0, "false commits": (t) => t.false_commits > 0,
  "bot came back in speech": (t) => t.back_ms !== null, "heard text wrong": (t) => t.heard_error > 0 };
const fits = (t, result) => (OUTCOMES[result] ?? ((t) => t.result === result))(t);
function choices(select, first, values) { select.append(new Option(first, "")); values.forEach((v) => select.append(new Option(v, v))); select.onchange = list; }

// ---- one trial -----------------------------------------------------------------------------------------------------
function open(id) {
  current = RUN.trials.find((t) => t.id === id);
  if (!current) return;
  location.hash = id;
  document.querySelectorAll("#list tr.on").forEach((r) => { r.className = ""; });
  const row = $("row-" + id);
  if (row) { row.className = "on"; row.scrollIntoView({ block: "nearest" }); }
  if (cache[id]) return show(cache[id]);
  loading = id;
  const script = document.createElement("script");
  script.src = `trials/${id}.js`;
  script.onerror = () => { $("what").replaceChildren(text("h2", `trials/${id}.js is missing`)); };
  document.head.append(script);
}
// Called by the trial's own file.
function trial(t) {
  t.sound = { caller: linear(t.caller), bot: linear(t.bot) };
  cache[t.id] = t;
  if (t.id === loading) show(t);
}
function linear(base64) {
  const bytes = atob(base64), out = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const bits = ~bytes.charCodeAt(i) & 255, exponent = (bits >> 4) & 7;
    const size = ((((bits & 15) << 3) + 132) << exponent) - 132;
    out[i] = (bits & 128 ? -size : size) / 32768;
  }
  return out;
}
let data = null, view = [0, 1], drag = null;
function show(t) {
  data = t; view = [0, t.length_ms];
  const c = current, what = $("what");
  what.replaceChildren(text("h2", `${c.condition}: ${c.result}${c.stop_ms !== null ? " after " + num(c.stop_ms) + " ms" : ""}`), text("span", `call ${t.call}, ${num(t.from_s, 1)} s into it`),
    text("span", `noise: ${c.noise}`));
  if (c.words) what.append(text("span", `says ${c.words}`));
  if (c.heard_ms !== null && Math.abs(c.heard_ms - c.stop_ms) > 1) what.append(text("span", `heard for ${num(c.heard_ms)} ms`));
  if (c.response_ms !== null) what.append(text("span", `answer ${num(c.response_ms)} ms after the end`));
  const notes = $("notes"); notes.replaceChildren();
  for (const n of t.noted) {
    const div = text("div", "", "note"); div.append(text("b", `server: ${n.outcome}${n.why ? ` (${n.why})` : ""}`), ` onset ${num(n.onset)}, held ${num(n.held)}, decided ${num(n.decided)} ms${n.ducked ? ", ducked first" : ""}`);
    if (n.heard !== null) { div.append("; heard "); div.append(text("q", tail(n.heard))); div.append(" | not heard "); div.append(text("q", start(n.unheard ?? ""))); }
    notes.append(div);
  }
  for (const h of t.false_holds) {
    const div = text("div", "", "note"); div.append(text("b", h.committed ? "false commit" : "false hold"), ` at ${num(h.at)} ms` + (h.until === null ? "" : `, on again at ${num(h.until)} ms`) +
      (h.words ? `; ${h.words.lost} words lost, ${h.words.repeated} repeated` : ""));
    notes.append(div);
  }
  sound(); draw();
}
const tail = (s) => s.length > 70 ? "\u2026" + s.slice(-70) : s, start = (s) => s.length > 70 ? s.slice(0, 70) + "\u2026" : s;

// ---- to hear it ----------------------------------------------------------------------------------------------------
function sound() {
  const ear = document.querySelector("input[name=ear]:checked").value, audio = $("audio"), at = audio.currentTime || 0;
  const channels = ear === "both" ? [data.sound.caller, data.sound.bot] : [data.sound[ear]];
  URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(wav(channels));
  audio.currentTime = Math.min(at, data.length_ms / 1000);
}
// Caller left, bot right.
function wav(channels) {
  const frames = channels[0].length, count = channels.length, out = new DataView(new ArrayBuffer(44 + frames * count * 2));
  const put = (at, s) => [...s].forEach((c, i) => out.setUint8(at + i, c.charCodeAt(0)));
  put(0, "RIFF"); out.setUint32(4, 36 + frames * count * 2, true); put(8, "WAVEfmt "); out.setUint32(16, 16, true);
  out.setUint16(20, 1, true); out.setUint16(22, count, true); out.setUint32(24, 8000, true); out.setUint32(28, 16000 * count, true);
  out.setUint16(32, 2 * count, true); out.setUint16(34, 16, true); put(36, "data"); out.setUint32(40, frames * count * 2, true);
  for (let i = 0; i < frames; i++) channels.forEach((c, k) => out.setInt16(44 + (i * count + k) * 2, (c[i] ?? 0) * 32767, true));
  return new Blob([out.buffer], { type: "audio/wav" });
}

// ---- to see it -----------------------------------------------------------------------------------------------------
const LEFT = 66, TOP = 50;
function draw() {
  if (!data) return;
  const canvas = $("picture"), ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  canvas.width = w * ratio; canvas.height = h * ratio;
  const g = canvas.getContext("2d"); g.scale(ratio, ratio); g.font = "11px system-ui,sans-serif";
  const x = (ms) => LEFT + (ms - view[0]) / (view[1] - view[0]) * (w - LEFT - 10);
  const color = Object.fromEntries(["ink", "soft", "line", "caller", "bot", "warm", "bad", "ok", "speaking", "held", "committed", "resume", "stopped", "page"].map((n) => [n, css("--" + n)]));
  const room = h - TOP - 56, lane = (from, share) => [TOP + room * from, room * share];
  const lanes = { caller: lane(0, 0.27), bot: lane(0.28, 0.27), probability: lane(0.57, 0.18), gate: [TOP + room * 0.77, 12], level: lane(0.84, 0.16), state: [h - 46, 22] };
  const label = (name, lane) => { g.fillStyle = color.soft; g.textAlign = "right"; g.fillText(name, LEFT - 8, lane[0] + lane[1] / 2 + 4); };
  // The time of the trial itself, and of its speech.
  g.fillStyle = color.page; g.fillRect(x(data.trial_ms), TOP, Math.max(0, w - 10 - x(data.trial_ms)), h - TOP - 24);
  if (data.speech) { g.globalAlpha = 0.12; g.fillStyle = color.caller; g.fillRect(x(data.speech[0]), TOP, x(data.speech[1]) - x(data.speech[0]), h - TOP - 50); g.globalAlpha = 1; }
  axis(g, x, w, h, color);
  wave(g, data.sound.caller, lanes.caller, x, w, color.caller, color.line); label("caller", lanes.caller);
  wave(g, data.sound.bot, lanes.bot, x, w, color.bot, color.line); label("bot", lanes.bot);
  trace(g, lanes, x, color); label("speech p", lanes.probability); label("gate", lanes.gate); label("level dB", lanes.level);
  label("state", lanes.state);
  for (const [a, b, state] of data.bands ?? []) {
    g.fillStyle = color[state.toLowerCase()] ?? color.soft; g.fillRect(x(a), lanes.state[0], x(b) - x(a), lanes.state[1]);
    g.fillStyle = "#fff"; g.textAlign = "left";
    if (x(b) - x(a) > g.measureText(state).width + 10) g.fillText(state, Math.max(x(a), LEFT) + 5, lanes.state[0] + 15);
  }
  // Left of the axis nothing of it may show.
  g.clearRect(0, 0, LEFT - 4, h - 22); ["caller", "bot", "probability", "gate", "level", "state"].forEach((n) => label({ probability: "speech p", level: "level dB" }[n] ?? n, lanes[n]));
  marks(g, x, w, h, color);
  const audio = $("audio");
  if (audio.currentTime > 0) { g.strokeStyle = color.ink; g.lineWidth = 1; line(g, x(audio.currentTime * 1000), TOP, h - 24); }
  if (drag && drag.to !== undefined) { g.globalAlpha = 0.15; g.fillStyle = color.ink; g.fillRect(drag.from, TOP, drag.to - drag.from, h); g.globalAlpha = 1; }
}
function line(g, at, top, bottom) { g.beginPath(); g.moveTo(at, top); g.lineTo(at, bottom); g.stroke(); }
function axis(g, x, w, h, color) {
  const span = view[1] - view[0], step = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((s) => span / s <= 14) ?? 10000;
  g.strokeStyle = color.line; g.fillStyle = color.soft; g.textAlign = "center"; g.lineWidth = 1;
  for (let ms = Math.ceil(view[0] / step) * step; ms <= view[1]; ms += step) { line(g, x(ms), TOP, h - 22); g.fillText(ms >= 1000 || step >= 500 ? `${ms / 1000} s` : `${ms} ms`, x(ms), h - 8); }
}
function wave(g, samples, [top, height], x, w, color, base) {
  const middle = top + height / 2, from = view[0] * 8, per = (view[1] - view[0]) * 8 / (w - LEFT - 10);
  g.strokeStyle = base; g.beginPath(); g.moveTo(LEFT, middle); g.lineTo(w - 10, middle); g.stroke();
  g.fillStyle = color;
  // Soft sounds are what these trials are about: the scale is the root of the size.
  const scale = (v) => Math.sign(v) * Math.sqrt(Math.abs(v)) * height / 2;
  for (let px = 0; px < w - LEFT - 10; px++) {
    let low = 0, high = 0;
    const a = Math.max(0, Math.floor(from + px * per)), b = Math.min(samples.length, Math.max(a + 1, Math.ceil(from + (px + 1) * per)));
    for (let i = a; i < b; i++) { if (samples[i] < low) low = samples[i]; if (samples[i] > high) high = samples[i]; }
    g.fillRect(LEFT + px, middle - scale(high), 1, Math.max(0.6, scale(high) - scale(low)));
  }
}
function trace(g, lanes, x, color) {
  const t = data.trace, [top, height] = lanes.probability, y = (p) => top + height * (1 - p);
  g.strokeStyle = color.line; g.setLineDash([3, 3]); g.beginPath(); g.moveTo(LEFT, y(0.5)); g.lineTo(x(view[1]), y(0.5)); g.stroke(); g.setLineDash([]);
  t.at.forEach((at, i) => {
    const [a, b] = [x(at - 32), x(at)];
    if (b < LEFT) return;
    g.globalAlpha = t.gate[i] ? 0.9 : 0.3; g.fillStyle = t.probability[i] >= 0.5 && t.gate[i] ? color.caller : color.soft;
    g.fillRect(a, y(t.probability[i]), b - a - 0.5, y(0) - y(t.probability[i]));
    g.globalAlpha = 1;
    if (t.gate[i]) { g.fillStyle = color.ok; g.fillRect(a, lanes.gate[0], b - a + 0.5, lanes.gate[1]); }
  });
  const [ltop, lheight] = lanes.level, db = (v) => ltop + lheight * Math.min(1, Math.max(0, (v + 10) / -70));
  for (const [row, paint] of [[t.level, color.caller], [t.floor, color.warm]]) {
    g.strokeStyle = paint; g.lineWidth = 1.2; g.beginPath();
    row.forEach((v, i) => g[i ? "lineTo" : "moveTo"](x(t.at[i] - 16), db(v))); g.stroke();
  }
  g.lineWidth = 1;
}
function marks(g, x, w, h, color) {
  const all = [];
  if (data.speech) all.push([data.speech[0], "onset", color.caller], [data.speech[1], "end of speech", color.caller]);
  const c = current;
  if (c.stop_ms !== null) all.push([data.speech[0] + (c.heard_ms ?? c.stop_ms), `stop ${num(c.heard_ms ?? c.stop_ms)} ms`, color.bad]);
  data.clears.forEach((at) => all.push([at, "clear", color.warm]));
  data.noted.forEach((n) => { if (n.decided !== null) all.push([n.decided, n.outcome === "resumed" ? "resume" : "commit", n.outcome === "resumed" ? color.ok : color.bad]); });
  if (!data.noted.length) { data.trace.commit.forEach((at) => all.push([at, "6 of 10", color.soft])); }
  data.trace.first.forEach((at) => all.push([at, "first", color.soft]));
  data.false_holds.forEach((f) => all.push([f.at, f.committed ? "false commit" : "false hold", color.bad]));
  all.sort((a, b) => a[0] - b[0]);
  const ends = [0, 0, 0, 0];
  g.textAlign = "left";
  for (const [at, name, paint] of all) {
    if (at < view[0] || at > view[1]) continue;
    const px = x(at), row = Math.max(0, ends.findIndex((end) => px >= end));
    g.strokeStyle = paint; g.setLineDash(name === "end of speech" || name === "first" ? [3, 3] : []); line(g, px, TOP - 4, h - 24); g.setLineDash([]);
    if (px < ends[row]) continue;
    g.fillStyle = paint; g.fillText(name, px + 2, 10 + 11 * row); ends[row] = px + g.measureText(name).width + 8;
  }
}

// ---- hands ---------------------------------------------------------------------------------------------------------
const time = (px) => view[0] + (px - LEFT) / ($("picture").clientWidth - LEFT - 10) * (view[1] - view[0]);
$("picture").onpointerdown = (e) => { drag = { from: e.offsetX }; e.target.setPointerCapture(e.pointerId); };
$("picture").onpointermove = (e) => { if (drag && Math.abs(e.offsetX - drag.from) > 5) { drag.to = e.offsetX; draw(); } };
$("picture").onpointerup = (e) => {
  if (!data || !drag) return;
  if (drag.to === undefined) $("audio").currentTime = Math.max(0, time(e.offsetX) / 1000);
  else { const [a, b] = [time(drag.from), time(drag.to)].sort((p, q) => p - q); if (b - a > 20) view = [Math.max(0, a), Math.min(data.length_ms, b)]; }
  drag = null; draw();
};
$("picture").ondblclick = () => { if (data) { view = [0, data.length_ms]; draw(); } };
document.querySelectorAll("input[name=ear]").forEach((e) => { e.onchange = sound; });
$("audio").ontimeupdate = draw; $("audio").onseeked = draw;
const frame = () => { if (!$("audio").paused) { draw(); requestAnimationFrame(frame); } };
$("audio").onplay = frame;
$("search").oninput = list;
addEventListener("resize", draw);
addEventListener("keydown", (e) => {
  if (e.target.tagName === "INPUT" || e.target.tagName === "SELECT") return;
  const at = shown.findIndex((t) => t.id === current?.id), step = { j: 1, k: -1 }[e.key];
  if (step && shown[at + step]) open(shown[at + step].id);
  if (e.key === " ") { e.preventDefault(); const a = $("audio"); if (a.paused) a.play(); else a.pause(); }
});
for (const state of ["SPEAKING", "HELD", "COMMITTED", "RESUME", "STOPPED"]) {
  const swatch = document.createElement("i"), item = text("span", "");
  swatch.style.background = `var(--${state.toLowerCase()})`;
  item.append(swatch, state === "STOPPED" ? "STOPPED: silent, and the server has noted no reason" : state);
  $("legend").append(item);
}
head();
choices($("condition"), "every condition", [...new Set(RUN.trials.map((t) => t.condition))]);
choices($("result"), "every outcome", [...Object.keys(OUTCOMES).filter(Boolean), ...new Set(RUN.trials.map((t) => t.result))]);
list();
open(location.hash.slice(1) || shown[0]?.id);
