"use strict";
(() => {
  const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9"];
  const RECENT = "#8f98a3"; // training values since the record before: behind those of whole epochs
  const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];
  const LABELS = { step: "step", epoch: "epoch", samples: "samples", tokens: "tokens", seconds: "time of training" };
  const root = document.documentElement;
  let data = JSON.parse(document.getElementById("data").textContent);
  const choice = { axis: "step", smoothing: 0, log: false, wanted: "" };
  const plots = new Map();   // place of a panel -> its uPlot
  const visible = new Set(); // places of panels that are near the window
  const figures = [...document.querySelectorAll("figure[data-panel]")];
  const sync = uPlot.sync("runs");

  const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const number = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3);
    return value.toLocaleString("en", { maximumSignificantDigits: 6 });
  };
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  const mark = (value) => {
    if (value == null) return "";
    const size = Math.abs(value);
    if (size !== 0 && size < 1e-3) return String(Number(value.toPrecision(3))).replace(/^(-?)0\.000\d+$/, () => Number(value.toPrecision(3)).toExponential());
    return compact.format(value);
  };
  const clock = (seconds) => {
    if (seconds < 120) return `${Math.round(seconds * 10) / 10} s`;
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return hours ? `${hours}:${String(minutes).padStart(2, "0")} h`
      : `${minutes}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;
  };

  // Exponential mean without the pull of its start; gaps stay gaps.
  function smoothed(values, weight) {
    let mean = 0, mass = 0;
    return values.map((value) => {
      if (value == null) return null;
      mean = weight * mean + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return mean / mass;
    });
  }

  // One value for each place of the axis: the last, as several may be logged at one step.
  function points(curve) {
    const axis = data.axes[curve.axes][choice.axis];
    const xs = [], ys = [];
    curve.values.forEach((value, index) => {
      if (axis[index] == null) return;
      const usable = value != null && choice.log && value <= 0 ? null : value;
      if (xs.length && axis[index] <= xs[xs.length - 1]) ys[ys.length - 1] = usable;
      else { xs.push(axis[index]); ys.push(usable); }
    });
    return [xs, ys];
  }

  function series(panel) {
    const several = data.runs.length > 1;
    const names = [...new Set(panel.curves.map((curve) => curve.name))];
    const tables = [], shown = [{ label: LABELS[choice.axis], value: (_, v) => choice.axis === "seconds" && v != null ? clock(v) : number(v) }];
    panel.curves.forEach((curve) => {
      const place = names.indexOf(curve.name);
      const color = several ? COLORS[curve.run % COLORS.length]
        : curve.name.startsWith("train_recent/") ? RECENT : COLORS[place % COLORS.length];
      const dash = several ? DASHES[place % DASHES.length] : [];
      const label = several
        ? data.runs[curve.run].name + (names.length > 1 ? " " + short(curve.name, panel) : "")
        : curve.name;
      const [xs, ys] = points(curve);
      const few = xs.length <= 60;
      if (choice.smoothing > 0) {
        tables.push([xs, ys]);
        shown.push({ label: "as recorded", stroke: color + "40", width: 1, value: (_, v) => number(v), points: { show: false } });
        tables.push([xs, smoothed(ys, choice.smoothing)]);
      } else tables.push([xs, ys]);
      shown.push({ label, stroke: color, width: 1.75, dash, of: curve, value: (_, v) => number(v),
        points: { show: few && choice.smoothing === 0, size: 4 } });
    });
    return { shown, joined: uPlot.join(tables) };
  }

  // `val/loss` in the panel `loss` is `val`: with the name of a run before it, lines are long enough.
  const short = (name, panel) => name.endsWith("/" + panel.title) ? name.slice(0, -panel.title.length - 1) : name;

  // The legend of several runs and values: a line for each run, a column for each value.
  function tabulate(legend, panel, shown) {
    const names = [...new Set(panel.curves.map((curve) => curve.name))];
    const runs = [...new Set(panel.curves.map((curve) => curve.run))];
    if (data.runs.length < 2 || names.length < 2) return;
    const put = (element, row, column) => { element.style.gridRow = row + 1; element.style.gridColumn = column + 1; };
    const head = (text, row, column) => {
      const line = legend.appendChild(document.createElement("tr"));
      line.className = "u-head";
      line.title = line.appendChild(document.createElement("td")).textContent = text;
      put(line, row, column);
    };
    legend.classList.add("by-run");
    const rows = [...legend.querySelectorAll(".u-series")]; // in the order of the series
    shown.forEach(({ of }, place) => {
      if (of) put(rows[place], 1 + runs.indexOf(of.run), 1 + names.indexOf(of.name));
      else rows[place].hidden = place > 0; // of a smoothed curve, the values as recorded
    });
    runs.forEach((run, place) => head(data.runs[run].name, 1 + place, 0));
    names.forEach((name, place) => head(short(name, panel), 0, 1 + place));
  }

  const border = (dash) => !dash?.length ? "solid" : dash[0] > 3 ? "dashed" : "dotted";

  function draw(place) {
    const figure = figures[place], panel = data.panels[place];
    const box = figure.querySelector(".plot");
    plots.get(place)?.destroy();
    box.replaceChildren();
    figure.querySelector("figcaption").hidden = true; // uPlot's own legend has values as well
    const { shown, joined } = series(panel);
    const axis = { stroke: ink("--soft"), grid: { stroke: ink("--grid"), width: 1 }, ticks: { stroke: ink("--grid"), width: 1 }, font: "12px system-ui" };
    const across = (_, marks) => marks.map(choice.axis === "seconds" ? clock : mark);
    const upward = (_, marks) => marks.map(mark);
    const plot = new uPlot({
      width: box.clientWidth, height: 230, series: shown,
      scales: { x: { time: false }, y: choice.log ? { distr: 3 } : {} },
      axes: [{ ...axis, values: across, size: 32 }, { ...axis, values: upward, size: 72 }],
      cursor: { sync: { key: sync.key, scales: ["x", null] }, points: { size: 6 } },
      legend: { live: true, markers: { dash: (_, one) => border(shown[one].dash) } },
    }, joined, box);
    tabulate(plot.root.querySelector(".u-legend tbody"), panel, shown);
    box.tabIndex = 0;
    box.setAttribute("role", "application");
    box.setAttribute("aria-label", figure.dataset.says + ". Arrow keys move the cursor, Escape shows all.");
    box.onkeydown = (event) => {
      if (event.key === "Escape") { plot.setScale("x", { min: joined[0][0], max: joined[0][joined[0].length - 1] }); return; }
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const last = joined[0].length - 1;
      const now = plot.cursor.idx == null ? (move > 0 ? -1 : last + 1) : plot.cursor.idx;
      const next = Math.max(0, Math.min(last, now + move * (event.shiftKey ? 10 : 1)));
      plot.setCursor({ left: plot.valToPos(joined[0][next], "x"), top: 40 }, true, true); // and all others with it
    };
    plots.set(place, plot);
  }

  const redraw = () => { for (const place of [...plots.keys()]) visible.has(place) ? draw(place) : (plots.get(place).destroy(), plots.delete(place)); visible.forEach((place) => plots.has(place) || draw(place)); };

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const place = Number(entry.target.dataset.panel);
      if (entry.isIntersecting) { visible.add(place); if (!plots.has(place)) draw(place); }
      else visible.delete(place);
    }
  }, { rootMargin: "600px 0px" });

  function filter() {
    const words = choice.wanted.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const figure of figures) {
      const names = figure.dataset.names.toLowerCase();
      figure.hidden = !words.every((word) => names.includes(word));
      shown += !figure.hidden;
    }
    document.getElementById("none").hidden = shown > 0;
  }

  function listen() {
    const on = (id, event, change) => document.getElementById(id).addEventListener(event, (happened) => change(happened.target));
    on("axis", "change", (one) => { choice.axis = one.value; redraw(); });
    on("smoothing", "input", (one) => {
      choice.smoothing = Number(one.value);
      document.getElementById("smoothing-value").value = one.value;
      redraw();
    });
    on("log", "change", (one) => { choice.log = one.checked; redraw(); });
    on("filter", "input", (one) => { choice.wanted = one.value; filter(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
  }

  // A page that is served while the run goes on asks for new values; the file never does.
  async function follow() {
    try {
      const answer = await fetch("data.json?stamp=" + encodeURIComponent(root.dataset.stamp), { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const next = await answer.json();
      document.getElementById("live").textContent = next.says;
      const ended = (stamp) => stamp.replace(/\d+\./g, ""); // the statuses alone
      if (next.data && (next.data.panels.length !== data.panels.length || ended(next.stamp) !== ended(root.dataset.stamp))) location.reload();
      else if (next.data) { root.dataset.stamp = next.stamp; data = next.data; redraw(); }
    } catch (error) {
      document.getElementById("live").textContent = `not live any more: ${error.message}`;
      return;
    }
    setTimeout(follow, 2000);
  }

  // Options of the configuration: only those that differ, or have a word in their name.
  function chooseOptions() {
    const table = document.getElementById("options");
    if (!table) return;
    const only = document.getElementById("only-own"), word = document.getElementById("options-filter");
    const left = document.getElementById("left");
    const choose = () => {
      const words = word.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of document.querySelectorAll(".options tbody tr")) {
        const name = row.cells[0].textContent.toLowerCase();
        row.hidden = (only.checked && row.className === "as-default") || !words.every((one) => name.includes(one));
      }
      if (left) { left.hidden = only.checked; if (words.length) left.open = true; }
    };
    only.addEventListener("change", choose);
    word.addEventListener("input", choose);
  }

  for (const controls of document.querySelectorAll(".controls")) controls.hidden = false;
  if (figures.length) listen();
  chooseOptions();
  figures.forEach((figure) => near.observe(figure));
  if (root.dataset.live) follow();
})();
