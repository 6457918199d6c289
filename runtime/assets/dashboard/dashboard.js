/* The dashboard: one stream of snapshots and one of log lines become what is shown. Everything kept
   is bounded, so that a page left open for days stays as it was. */
"use strict";

const MOST_POINTS = 3600, MOST_LINES = 1000, AGAIN_MS = 1500, NS = 1e9;
const at = (id) => document.getElementById(id);
const state = { token: "", prices: new Map(), symbol: "", curve: [[], []], loop: [[], [], []],
  quota: [[], []], orders: [], history: [], shown: null, charts: {}, lines: null, started: "" };

/* --- speaking to the run ------------------------------------------------------------------- */

function headers() {
  const found = { "X-Tidegate-By": "the dashboard" };
  if (state.token) found.Authorization = `Bearer ${state.token}`;
  return found;
}

async function ask(path, body) {
  const options = { headers: headers() };
  if (body !== undefined) { options.method = "POST"; options.body = JSON.stringify(body); }
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (answer.status === 401) { login(); throw new Error(found.detail); }
  if (!answer.ok) throw new Error(found.detail || answer.statusText);
  return found;
}

async function act(path, body = {}) {
  try { await ask(path, body); } catch (error) { toast(error.message); }
}

/* Server-sent events over fetch: unlike EventSource it can show the token. */
async function hear(path, signal, take) {
  const answer = await fetch(path, { headers: headers(), signal });
  if (answer.status === 401) { login(); throw new Error("a token is needed"); }
  if (!answer.ok) throw new Error(answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      let name = "", data = "";
      for (const line of part.split(/\r?\n/)) {
        if (line.startsWith("event: ")) name = line.slice(7);
        if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) take(name, JSON.parse(data));
    }
  }
}

async function follow() {
  for (;;) {
    try {
      await begin();
      await hear("/v1/stream", undefined, (name, found) => { if (name === "status") show(found); });
    } catch (error) { /* told by the badge */ }
    link(false);
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}

/* What was before this page was opened. */
async function begin() {
  const [equity, training, prices] = await Promise.all(
    [ask("/v1/equity"), ask("/v1/training"), ask("/v1/prices")]);
  state.curve = [equity.curve.map((s) => s.time / NS), equity.curve.map((s) => s.equity)];
  state.quota = [equity.curve.map((s) => s.time / NS), equity.curve.map((s) => s.available)];
  state.history = training.history;
  state.prices = new Map(Object.entries(prices.prices).map(
    ([name, rows]) => [name, [rows.map((r) => r[0] / NS), rows.map((r) => r[1])]]));
  hearLog();
}

function login() {
  at("login").hidden = false;
  at("main").hidden = true;
  at("refused").textContent = state.token ? "this token is not the run's" : "";
  at("token").focus();
}

function link(up) {
  at("link").textContent = up ? "live" : "not connected";
  at("link").className = `badge ${up ? "good" : "bad"}`;
}

function toast(text) {
  const box = at("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(state.toast);
  state.toast = setTimeout(() => { box.hidden = true; }, 6000);
}

/* --- a snapshot ---------------------------------------------------------------------------- */

function show(found) {
  const now = found.snapshot, status = now.status, when = now.time / NS;
  link(true);
  at("login").hidden = true;
  at("main").hidden = false;
  if (found.run !== state.started) { state.started = found.run; state.loop = [[], [], []]; }
  state.shown = found;
  state.orders = found.orders;
  document.title = `${found.name} – Tidegate`;
  at("name").textContent = found.name;
  at("run").textContent = `${found.strategy} · pid ${found.pid}`;
  text("equity", status.equity);
  text("pnl", status.pnl, status.pnl.startsWith("-") ? "bad" : "good");
  text("quota", status.quota);
  text("ticks", status.ticks.toLocaleString());
  text("fills", String(status.fills));
  text("lag", `${status.lag_p99_ms} ms`);
  text("latency", `${status.latency_p99_ms} ms`);
  text("pending", String(status.pending));
  at("halted").hidden = !now.halted;
  at("halted").textContent = `halted: ${now.halted}`;
  at("halt").hidden = Boolean(now.halted);
  at("resume").hidden = !now.halted;
  grow(state.curve, when, Number(status.equity));
  grow(state.quota, when, now.training.quota.available);
  grow(state.loop, when, status.lag_p99_ms, status.latency_p99_ms);
  for (const [name, price] of Object.entries(now.prices)) {
    if (!state.prices.has(name)) state.prices.set(name, [[], []]);
    grow(state.prices.get(name), when, price);
  }
  symbols();
  training(now.training);
  models(now.models);
  feed(now.feed);
  places(found.log);
  rows("positions", now.positions,
    ["symbol", "quantity", "average_price", "last_price", "value", "unrealised_pnl"]);
  rows("orders", [...found.orders].reverse().slice(0, 50),
    ["created", "symbol", "side", "type", "quantity", "state", "filled", "average_price", "reason"]);
  draw();
}

function text(id, value, kind) {
  at(id).textContent = value;
  if (kind !== undefined) at(id).className = kind;
}

function grow(columns, ...values) {
  const times = columns[0];
  if (times.length && values[0] <= times[times.length - 1]) return;
  columns.forEach((column, index) => column.push(values[index]));
  if (times.length > MOST_POINTS) columns.forEach((column) => column.shift());
}

function symbols() {
  const names = [...state.prices.keys()], box = at("symbol");
  if (box.options.length !== names.length) {
    box.replaceChildren(...names.map((name) => new Option(name, name)));
    if (!names.includes(state.symbol)) state.symbol = names[0] || "";
    box.value = state.symbol;
  }
}

function element(kind, content, className) {
  const made = document.createElement(kind);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  return made;
}

function cell(name, value) {
  if (value === null || value === undefined) return "";
  if (name === "created") return clock(value / NS);
  if (name === "average_price") return String(Math.round(Number(value) * 1e6) / 1e6);
  return String(value);
}

function rows(id, found, columns) {
  if (!found.length) { at(id).replaceChildren(element("p", "none", "dim")); return; }
  const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const name of columns) head.append(element("th", name.replaceAll("_", " ")));
  for (const row of found) {
    const line = body.insertRow();
    for (const name of columns) {
      const kind = name.endsWith("pnl") ? (String(row[name]).startsWith("-") ? "bad" : "good") : "";
      line.append(element("td", cell(name, row[name]), kind));
    }
  }
  at(id).replaceChildren(table);
}

/* Replace what is in a box, and leave the keyboard on the button where it was. */
function renew(id, ...children) {
  const box = at(id), held = box.contains(document.activeElement) && document.activeElement.dataset.key;
  box.replaceChildren(...children);
  if (held) box.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
}

/* --- training ------------------------------------------------------------------------------ */

function training(now) {
  text("training", now.is_on ? "on" : "off", `badge ${now.is_on ? "good" : "warn"}`);
  at("on").disabled = now.is_on;
  at("off").disabled = !now.is_on;
  const jobs = now.running.map((job) => {
    const line = element("div");
    const bar = element("progress");
    if (job.fraction > 0) { bar.max = 1; bar.value = job.fraction; }
    bar.setAttribute("aria-label", `${job.id} is done to`);
    const words = `${job.state} ${job.elapsed.toFixed(0)} s, ${job.spent} min paid ${job.text}`;
    const stop = element("button", "Cancel");
    stop.type = "button";
    stop.dataset.key = job.id;
    stop.onclick = () => act("/v1/training/cancel", { job: job.id });
    line.append(element("b", `${job.id} `), bar, ` ${words} `, stop);
    return line;
  });
  renew("jobs", ...jobs, element("p", Object.entries(now.finished)
    .map(([kind, count]) => `${count} ${kind}`).join(", ") || "no job has ended yet", "dim"));
  const quota = now.quota;
  at("refill").textContent = `${quota.available} of ${quota.capacity} minutes left, `
    + `${quota.refill_amount} more at ${new Date(quota.next_refill / 1e6).toLocaleString()}`;
  const sign = JSON.stringify([now.finished, now.running.length, now.queued.length, now.is_on]);
  if (sign !== state.sign) {
    state.sign = sign;
    ask("/v1/training").then((found) => { state.history = found.history; lanes(); }, () => {});
  }
  lanes();
}

const ENDS = { "model published": "published", failed: "failed", cancelled: "failed",
  "out of quota": "failed", abandoned: "failed" };

/* One lane for each method: what waited, ran, was paused, and how it ended. */
function lanes() {
  if (!state.shown) return;
  const now = state.shown.snapshot.engine_time, first = state.history.length ? state.history[0].time : now;
  const span = Math.max(now - first, 60 * NS), left = now - span;
  const found = new Map();
  for (const row of state.history) {
    if (!row.job) continue;
    if (!found.has(row.name)) found.set(row.name, new Map());
    const jobs = found.get(row.name);
    if (!jobs.has(row.job)) jobs.set(row.job, { spent: 0 });
    const job = jobs.get(row.job);
    if (row.kind === "queued") job.queued = row.time;
    if (row.kind === "started") job.started = row.time;
    if (row.kind === "paused") job.kind = "paused";
    if (row.kind === "resumed") job.kind = "";
    if (row.kind in ENDS) job.kind = ENDS[row.kind];
    if (row.kind === "finished" || row.kind in ENDS) job.ended = row.time;
    if (row.version) job.version = row.version;
    job.spent = row.spent;
    job.text = `${row.kind} ${row.text}`;
  }
  const share = (time) => Math.max(0, Math.min(100, (time - left) / span * 100));
  const piece = (from, to, kind, title) => {
    const made = element("i", undefined, kind);
    made.style.left = `${share(from)}%`;
    made.style.width = `${Math.max(0, share(to) - share(from))}%`;
    made.title = title;
    return made;
  };
  at("timeline").replaceChildren(...[...found].map(([name, jobs]) => {
    const lane = element("div", undefined, "lane"), bar = element("div", undefined, "bar");
    for (const [id, job] of [...jobs].slice(-60)) {
      const title = `${id}: ${job.text}, ${job.spent} min paid`;
      if (job.queued) bar.append(piece(job.queued, job.started || now, "queued", title));
      if (job.started) bar.append(piece(job.started, job.ended || now, job.kind || "", title));
    }
    const versions = [...jobs.values()].filter((job) => job.version && job.ended).slice(-8);
    for (const job of versions) {
      const mark = element("em", `v${job.version}`);
      mark.style.left = `${share(job.ended)}%`;
      bar.append(mark);
    }
    lane.append(element("span", name), bar);
    lane.title = `${jobs.size} jobs`;
    return lane;
  }));
}

function models(found) {
  if (!found.length) { at("models").replaceChildren(element("p", "none", "dim")); return; }
  renew("models", ...found.map((model) => {
    const line = element("div");
    const words = model.ready ? `v${model.version}` : model.cause;
    line.append(element("b", `${model.slot} `), element("span", words, model.ready ? "good" : "warn"));
    if (model.trained_at) line.append(element("span", ` trained ${clock(model.trained_at / NS)}`, "dim"));
    const figures = Object.entries(model.metrics).map(([k, v]) => `${k} ${Number(v).toPrecision(4)}`);
    if (figures.length) line.append(element("div", figures.join("  "), "dim"));
    const missed = Object.entries(model.skipped).map(([cause, count]) => `${count} skipped: ${cause}`);
    if (model.made || missed.length)
      line.append(element("div", [`predictions: ${model.made} made`, ...missed].join(", "), "dim"));
    const back = element("button", "Roll back");
    back.type = "button";
    back.dataset.key = model.slot;
    back.disabled = !model.can_roll_back;
    back.onclick = async () => {
      if (await sure(`Let the version before v${model.version} of ${model.slot} serve again?`))
        act(`/v1/models/${encodeURIComponent(model.slot)}/rollback`);
    };
    line.append(back);
    return line;
  }));
}

function feed(found) {
  const lines = found.connections.map((line) => {
    const made = element("div");
    made.append(element("b", `${line.name} `),
      element("span", line.state, line.state === "live" ? "good" : "bad"),
      element("span", ` ${line.events.toLocaleString()} events, ${line.reconnects} reconnects, `
        + `${line.gaps} gaps`, "dim"));
    return made;
  });
  if (!lines.length) lines.push(element("p", `${found.name}: ${found.events.toLocaleString()} events`));
  at("feed").replaceChildren(...lines);
}

/* What is wrong with a place that lines of the log go to; nothing where all is well. */
function places(found) {
  const bad = found.filter((place) => place.trouble || place.dropped);
  at("places").textContent = bad.map((place) => `${place.place}: `
    + [place.trouble, place.dropped ? `${place.dropped} lines dropped` : ""].filter(Boolean).join(", ")).join("; ");
  at("places").hidden = !bad.length;
}

/* --- charts -------------------------------------------------------------------------------- */

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function chart(id, columns, series, more = {}) {
  const box = at(id), width = box.clientWidth, height = box.clientHeight;
  if (!width) return;
  const axis = { stroke: ink("--dim"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false } };
  let made = state.charts[id];
  if (made && (made.key !== more.key || made.width !== width)) { made.destroy(); made = undefined; }
  if (!made) {
    const options = { width, height: height - 4, legend: { show: false }, cursor: { y: false },
      axes: [axis, { ...axis, size: 78, ...(more.y || {}) }], series: [{}, ...series],
      scales: more.scales || {}, hooks: more.hooks || {} };
    made = state.charts[id] = new uPlot(options, columns, box);
    made.key = more.key;
  } else { made.setData(columns); }
}

function fillsOf(symbol) {
  return state.orders.filter((order) => order.symbol === symbol && Number(order.filled) > 0);
}

/* Triangles where the symbol was bought and sold. */
function marks(plot) {
  const { ctx, bbox } = plot;
  for (const order of fillsOf(state.symbol)) {
    const x = plot.valToPos(order.created / NS, "x", true);
    const y = plot.valToPos(Number(order.average_price), "y", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const up = order.side === "buy", size = 6 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, y + (up ? 2 : -2) * devicePixelRatio);
    ctx.lineTo(x - size, y + (up ? 1.8 : -1.8) * size);
    ctx.lineTo(x + size, y + (up ? 1.8 : -1.8) * size);
    ctx.closePath();
    ctx.fillStyle = ink(up ? "--good" : "--bad");
    ctx.fill();
  }
}

function drawdown(values) {
  let peak = -Infinity;
  return values.map((value) => { peak = Math.max(peak, value); return peak > 0 ? (value / peak - 1) * 100 : 0; });
}

function draw() {
  if (document.hidden) return;
  const line = { stroke: ink("--accent"), width: 1.5, points: { show: false } };
  const price = state.prices.get(state.symbol) || [[], []];
  chart("price", price, [line], { key: state.symbol, hooks: { draw: [marks] } });
  const equity = state.curve;
  chart("curve", [equity[0], equity[1], drawdown(equity[1])],
    [{ ...line, fill: ink("--soft") }, { stroke: ink("--bad"), width: 1, scale: "%", points: { show: false } }],
    { key: "curve", scales: { "%": { range: (_, low) => [Math.min(low * 4, -1), 0] } } });
  chart("bucket", state.quota, [{ ...line, paths: uPlot.paths.stepped({ align: 1 }), fill: ink("--soft") }],
    { key: "bucket", scales: { y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.05] } } });
  chart("loop", state.loop, [{ ...line, stroke: ink("--warn") }, line],
    { key: "loop", y: { values: (_, ticks) => ticks.map((tick) => `${tick} ms`) } });
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

/* --- the log ------------------------------------------------------------------------------- */

/* Lines as they come, and again where the stream was cut; a new choice ends the one before. */
async function hearLog() {
  if (state.lines) state.lines.abort();
  const end = state.lines = new AbortController();
  const query = new URLSearchParams({ level: at("level").value, grep: at("grep").value, limit: "200" });
  while (!end.signal.aborted) {
    at("log").replaceChildren();
    try { await hear(`/v1/logs/stream?${query}`, end.signal, take); } catch (error) { /* told by the badge */ }
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}

function take(name, found) {
  if (name === "dropped") write(element("div", `${found.count} lines were missed`, "warning"));
  if (name !== "line") return;
  const line = element("div", undefined, found.level);
  const fields = Object.entries(found.fields).filter(([key]) => key !== "run" && key !== "strategy")
    .map(([key, value]) => `${key}=${value}`).join(" ");
  line.append(element("time", clock(found.time / NS)), ` ${found.event}  ${fields}`);
  write(line);
}

function write(line) {
  const box = at("log"), atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(line);
  while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

/* --- what a person does -------------------------------------------------------------------- */

function sure(question) {
  const box = at("sure");
  at("question").textContent = question;
  box.returnValue = "no";
  box.showModal();
  const mine = state.asked = (state.asked || 0) + 1;
  return new Promise((done) => {
    /* The close of the question before may be told only now: it is no answer to this one. */
    box.addEventListener("close", function ended() {
      const isMine = mine === state.asked;
      if (isMine && box.open) return;
      box.removeEventListener("close", ended);
      done(isMine && box.returnValue === "yes");
    });
  });
}

at("on").onclick = () => act("/v1/training/on");
at("off").onclick = () => act("/v1/training/off");
at("now").onclick = () => act("/v1/training/now");
at("resume").onclick = () => act("/v1/resume");
at("halt").onclick = async () => {
  if (await sure("Refuse every order from now on, and cancel those that work?"))
    act("/v1/halt", { reason: "from the dashboard" });
};
at("symbol").onchange = () => { state.symbol = at("symbol").value; draw(); };
at("level").onchange = hearLog;
at("grep").oninput = () => { clearTimeout(state.typing); state.typing = setTimeout(hearLog, 300); };
at("login").onsubmit = (event) => {
  event.preventDefault();
  state.token = at("token").value.trim();
  sessionStorage.setItem("token", state.token);
  at("login").hidden = true;
};
addEventListener("resize", () => { clearTimeout(state.sizing); state.sizing = setTimeout(draw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const id of Object.keys(state.charts)) { state.charts[id].destroy(); delete state.charts[id]; }
  draw();
});

/* The token comes behind the # of the address, which no server is told, and is taken out of it. */
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
state.token = given || sessionStorage.getItem("token") || "";
follow();
