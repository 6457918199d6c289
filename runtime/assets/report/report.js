"use strict";
(() => {
  const data = JSON.parse(document.getElementById("series").textContent);
  const root = document.documentElement;
  const narrow = () => root.clientWidth < 620;
  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const faint = (text, share) => `color-mix(in srgb, ${text} ${share}%, transparent)`;
  const at = (seconds) => {
    try { return uPlot.tzDate(new Date(seconds * 1e3), data.zone); }
    catch { return uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"); }
  };
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 8, maximumSignificantDigits: 8 });
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 6 });
  const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 2 });
  const whole = { min: data.begin, max: data.end > data.begin ? data.end : data.begin + 1 };
  let range = { ...whole };
  let charts = [];
  let moving = false;

  // One range of time for all charts: whoever is zoomed takes the others along.
  function follow(chart, scale) {
    if (scale !== "x" || moving) return;
    const { min, max } = chart.scales.x;
    if (min == null || (min === range.min && max === range.max)) return;
    moving = true;
    range = { min, max };
    charts.forEach((other) => other !== chart && other.setScale("x", range));
    moving = false;
  }

  function folds(chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.strokeStyle = faint(colour("quiet"), 55);
    ctx.setLineDash([4, 4]);
    for (const [start] of data.folds) {
      const x = chart.valToPos(start, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  // From this step on (seconds): the label, then what is added where the year, day, hour ... changes.
  const DAY = "\n{YYYY}-{MM}-{DD}", CLOCK = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [2419200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
    [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
    [0.001, "{ss}.{fff}", DAY + " {HH}:{mm}", null, DAY + " {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  ];

  function draw(id, columns, { series, height, y = {}, axis = {}, hooks = [], legend = true }) {
    const place = document.getElementById(id);
    place.replaceChildren();
    const axes = {
      stroke: colour("quiet"), font: "11px system-ui, sans-serif",
      grid: { stroke: colour("rule"), width: 1 }, ticks: { stroke: colour("rule"), width: 1, size: 4 },
    };
    const chart = new uPlot({
      width: place.clientWidth, height: height(), tzDate: at,
      cursor: { sync: { key: "time" }, drag: { x: true, y: false }, points: { size: 7 } },
      legend: { show: legend && columns[0].length > 0 },
      scales: { x: { time: true, range: (_, min, max) => (min == null ? [whole.min, whole.max] : [min, max]) }, y },
      axes: [
        { ...axes, space: 76, values: CLOCK },
        { ...axes, size: narrow() ? 52 : 66, values: (_, values) => values.map((v) => short.format(v)), ...axis },
      ],
      series: [{ value: (_, v) => (v == null ? "–" : at(v).toLocaleString("sv")) }, ...series],
      hooks: { draw: [folds, ...hooks], setScale: [follow] },
    }, columns, place);
    moving = true;
    chart.setScale("x", range);
    moving = false;
    charts.push(chart);
  }

  const told = (format, unit = "") => (_, v) => (v == null ? "–" : format.format(v) + unit);
  // The last value stands until the end of the run: a line that just stops would look like an end.
  function until([times, values], before) {
    const t = [...times], v = [...values];
    if (before != null && (!t.length || t[0] > whole.min)) { t.unshift(whole.min); v.unshift(before); }
    if (t.length && t[t.length - 1] < whole.max) { t.push(whole.max); v.push(v[v.length - 1]); }
    return [t, v];
  }

  function account() {
    const { t, equity, fall } = data.equity;
    draw("equity", [t, equity], {
      height: () => (narrow() ? 220 : 300),
      series: [{ label: "equity", stroke: colour("line"), width: 1.75, fill: faint(colour("line"), 8), fillTo: (u) => u.scales.y.min, value: told(number) }],
    });
    draw("drawdown", [t, fall], {
      height: () => 130,
      y: { range: (_, min) => [Math.min(min ?? 0, -0.0001) * 1.05, 0] },
      axis: { values: (_, values) => values.map((v) => share.format(v)) },
      series: [{ label: "drawdown", stroke: colour("fall"), width: 1.25, fill: faint(colour("fall"), 22), fillTo: 0, value: told(share) }],
    });
  }

  function markers(fills) {
    return (chart) => {
      const { ctx, bbox } = chart, size = 5 * devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      for (const [time, price, quantity] of fills) {
        if (time < range.min || time > range.max) continue;
        const x = chart.valToPos(time, "x", true), y = chart.valToPos(price, "y", true);
        const up = quantity > 0 ? 1 : -1;
        ctx.beginPath();
        ctx.moveTo(x, y + up * 2);
        ctx.lineTo(x - size, y + up * (2 + size * 1.7));
        ctx.lineTo(x + size, y + up * (2 + size * 1.7));
        ctx.closePath();
        ctx.fillStyle = colour(up > 0 ? "buy" : "sell");
        ctx.strokeStyle = colour("card");
        ctx.fill();
        ctx.stroke();
      }
      ctx.restore();
    };
  }

  function symbol(name) {
    const { price, fills, position } = data.symbols[name];
    const at_fills = fills.map((fill) => fill[1]);
    draw("price", until(price), {
      height: () => (narrow() ? 230 : 300),
      y: { range: (u, min, max) => {
        const inside = fills.filter((f) => f[0] >= range.min && f[0] <= range.max).map((f) => f[1]);
        const low = Math.min(min ?? Infinity, ...inside), high = Math.max(max ?? -Infinity, ...inside);
        if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
        const room = (high - low || Math.abs(high) * 0.01 || 1) * 0.08;
        return [low - room, high + room];
      } },
      series: [{ label: name, stroke: colour("price"), width: 1.25, value: told(number) }],
      hooks: at_fills.length ? [markers(fills)] : [],
    });
    draw("position", until(position, 0), {
      height: () => 120,
      y: { range: (_, min, max) => {
        const low = Math.min(min ?? 0, 0), high = Math.max(max ?? 0, 0), room = (high - low || 1) * 0.08;
        return [low && low - room, high + room];
      } },
      series: [{ label: "position", stroke: colour("line"), width: 1.25, fill: faint(colour("line"), 18), fillTo: 0, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false }, value: told(number) }],
    });
  }

  const STATES = { finished: "good", failed: "bad", cancelled: "quiet", "out of quota": "wait" };
  function lanes(names) {
    return (chart) => {
      const { ctx, bbox } = chart, pixel = devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.font = `${11 * pixel}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      ctx.textAlign = "left"; // the axes leave their own
      const free = names.map(() => -Infinity);
      for (const [start, end, name, version, state] of data.jobs) {
        if (end < range.min || start > range.max) continue;
        const lane = names.indexOf(name), half = 7 * pixel;
        const y = chart.valToPos(names.length - 1 - lane, "y", true) + 5 * pixel;
        const x = chart.valToPos(start, "x", true);
        const width = Math.max(3 * pixel, chart.valToPos(end, "x", true) - x);
        ctx.fillStyle = colour(STATES[state] ?? "wait");
        ctx.fillRect(x - 1.5 * pixel, y - half, width, 2 * half);
        const text = version ? "v" + version : state === "finished" ? "" : "×";
        const room = ctx.measureText(text).width;
        // At the right edge a label stands further left than its job, and is not cut off.
        const place = Math.min(x - 1.5 * pixel, bbox.left + bbox.width - room);
        if (text && place > free[lane]) {
          ctx.fillStyle = colour("ink");
          ctx.fillText(text, place, y - half - 7 * pixel);
          free[lane] = place + room + 7 * pixel;
        }
      }
      ctx.restore();
    };
  }

  function training() {
    const names = [...new Set(data.jobs.map((job) => job[2]))];
    document.getElementById("charts-of-training").hidden = !names.length;
    if (names.length) {
      const cut = (text) => (narrow() && text.length > 8 ? text.slice(0, 7) + "…" : text.slice(0, 24));
      const longest = Math.max(...names.map((name) => cut(name).length));
      draw("jobs", [[whole.min, whole.max], [null, null]], {
        height: () => 66 + 36 * names.length, legend: false,
        y: { range: () => [-0.5, names.length - 0.5] },
        axis: {
          splits: () => names.map((_, n) => n), values: () => [...names].reverse().map(cut), grid: { show: false },
          size: Math.max(narrow() ? 52 : 66, 16 + 6.2 * longest), space: 10,
        },
        series: [{ label: "jobs" }],
        hooks: [lanes(names)],
      });
    } else return;
    draw("quota", until(data.quota), {
      height: () => 120,
      y: { range: () => [0, Math.max(1, data.capacity * 1.05)] },
      series: [{ label: "minutes left", stroke: colour("wait"), width: 1.5, fill: faint(colour("wait"), 12), fillTo: 0, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false }, value: told(number) }],
    });
  }

  const names = Object.keys(data.symbols);
  const select = document.getElementById("symbol");
  names.forEach((name) => select.append(new Option(name, name)));
  select.hidden = names.length < 2;
  if (names.length === 1) select.before(names[0]);
  document.getElementById("by-symbol").hidden = !names.length;

  function all() {
    charts.forEach((chart) => chart.destroy());
    charts = [];
    account();
    if (names.length) symbol(select.value);
    training();
  }
  all();
  select.addEventListener("change", all);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  let width = root.clientWidth;
  addEventListener("resize", () => {
    if (root.clientWidth !== width) { width = root.clientWidth; all(); }
  });
  addEventListener("beforeprint", () => { root.classList.add("print"); all(); });
  addEventListener("afterprint", () => { root.classList.remove("print"); all(); });
})();
