"use strict";
// Curves of one or more runs over each other: a chart a metric, a line a run.
(() => {
  const root = document.querySelector(".curves");
  if (!root) return;
  const runs = root.dataset.runs.split(" ");
  const charts = root.querySelector("[data-charts]");
  const note = root.querySelector("[data-curves-note]");
  const smoothing = root.querySelector("[data-smoothing]");
  const logarithmic = root.querySelector("[data-logarithmic]");
  const drawings = document.querySelector("[data-drawings]");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // Told apart also without colour vision; the legend names each line.
  const COLOURS = {
    light: ["#2563c9", "#c2560a", "#16713c", "#8b3fb5", "#8a5a00", "#b42318", "#0f7490", "#60646c", "#7a4b2a", "#c02a7a"],
    dark: ["#7cb0ff", "#ffa057", "#6bd08f", "#d39bff", "#f0bd52", "#ff8f85", "#63d2ea", "#b0b6bf", "#d9a87c", "#ff8fc8"],
  };
  const metrics = new Map(); // metric -> run -> Map(step -> value)
  const plots = new Map();
  let hasFrame = false;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function add(run, metric, step, value) {
    if (!metrics.has(metric)) metrics.set(metric, new Map());
    const byRun = metrics.get(metric);
    if (!byRun.has(run)) byRun.set(run, new Map());
    byRun.get(run).set(step, value);
  }

  // Exponential moving average, without the pull towards zero at its start.
  function smoothed(values, weight) {
    let sum = 0;
    let mass = 0;
    return values.map((value) => {
      sum = sum * weight + value * (1 - weight);
      mass = mass * weight + (1 - weight);
      return mass ? sum / mass : value;
    });
  }

  function table(byRun) {
    const weight = Number(smoothing.value);
    const columns = runs.map((run) => {
      const points = Array.from(byRun.get(run) || []).sort((a, b) => a[0] - b[0]);
      const steps = points.map((point) => point[0]);
      const values = points.map((point) => point[1]);
      let shown = weight > 0 ? smoothed(values, weight) : values;
      if (logarithmic.checked) shown = shown.map((value) => (value > 0 ? value : null));
      return [steps, shown];
    });
    const filled = columns.map((column) => (column[0].length ? column : [[], []]));
    return uPlot.join(filled, filled.map((column) => column.slice(1).map(() => 2)));
  }

  function draw() {
    hasFrame = false;
    const names = Array.from(metrics.keys()).sort((a, b) => (b === "loss") - (a === "loss") || (b === "eval_loss") - (a === "eval_loss") || a.localeCompare(b));
    for (const metric of names) {
      const data = table(metrics.get(metric));
      const known = plots.get(metric);
      if (known) known.setData(data);
      else plots.set(metric, plot(metric, data));
    }
    note.textContent = names.length ? "" : "There are no points yet.";
  }

  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  const label = (tick) => (Math.abs(tick) >= 1e5 ? compact.format(tick) : Number(tick.toPrecision(6)).toString());

  function plot(metric, data) {
    const colours = dark.matches ? COLOURS.dark : COLOURS.light;
    const axis = { stroke: style("--faint"), grid: { stroke: style("--rule"), width: 1 }, ticks: { stroke: style("--rule"), width: 1 } };
    const options = {
      title: metric,
      width: width(),
      height: 260,
      scales: { x: { time: false }, y: { distr: logarithmic.checked ? 3 : 1 } },
      axes: [{ ...axis, label: "step", labelSize: 20 }, { ...axis, size: 64, values: (self, ticks) => ticks.map((tick) => (tick === null ? "" : label(tick))) }],
      series: [
        { label: "step" },
        ...runs.map((run, index) => ({
          label: run,
          stroke: colours[index % colours.length],
          dash: index >= colours.length ? [6, 3] : undefined,
          width: 1.5,
          spanGaps: true,
          points: { show: data[0].length < 40 },
          value: (self, value) => (value === null ? "" : value.toPrecision(5)),
        })),
      ],
    };
    const place = document.createElement("figure");
    place.className = "chart-place";
    charts.append(place);
    const drawn = new uPlot(options, data, place);
    drawn.root.querySelector("canvas").setAttribute("aria-label", `${metric} by step`);
    drawn.root.querySelector("canvas").setAttribute("role", "img");
    return drawn;
  }

  const width = () => {
    const columns = charts.clientWidth > 900 ? 2 : 1;
    return Math.floor((charts.clientWidth - (columns - 1) * 24) / columns);
  };

  function redrawAll() {
    for (const drawn of plots.values()) drawn.destroy();
    plots.clear();
    charts.replaceChildren();
    draw();
  }

  function soon() {
    if (hasFrame) return;
    hasFrame = true;
    window.requestAnimationFrame(draw);
  }

  async function load() {
    note.textContent = "Loading …";
    const answers = await Promise.all(runs.map((run) => fetch(`/runs/${encodeURIComponent(run)}/points`, { headers: { "HX-Request": "true" } })));
    const missing = runs.filter((run, index) => !answers[index].ok);
    for (const [index, answer] of answers.entries()) {
      if (!answer.ok) continue;
      const page = await answer.json();
      for (const [metric, [steps, values]] of Object.entries(page.metrics)) {
        steps.forEach((step, position) => add(runs[index], metric, step, values[position]));
      }
      const stream = document.body.dataset.liveCurves;
      if (index === 0 && stream) document.dispatchEvent(new CustomEvent("live:restart", { detail: { stream, cursor: page.cursor } }));
    }
    if (drawings) drawings.hidden = true;
    draw();
    if (missing.length) note.textContent = `Not found: ${missing.join(", ")}`;
  }

  document.addEventListener("live:points", (event) => {
    for (const [metric, step, value] of event.detail) add(runs[0], metric, step, value);
    soon();
  });
  smoothing.addEventListener("input", soon);
  logarithmic.addEventListener("change", redrawAll);
  dark.addEventListener("change", redrawAll);
  let resizing = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(resizing);
    resizing = window.setTimeout(() => {
      for (const drawn of plots.values()) drawn.setSize({ width: width(), height: 260 });
    }, 100);
  });
  load().catch(() => (note.textContent = "The points could not be loaded."));
})();
