"use strict";
// Progress of the stages between two states of the run.
(() => {
  document.addEventListener("live:progress", (event) => {
    const { stage, done, total, text } = event.detail;
    for (const label of document.querySelectorAll("[data-progress]")) {
      if (label.dataset.progress === stage) label.textContent = text;
    }
    for (const bar of document.querySelectorAll("[data-bar]")) {
      if (bar.dataset.bar !== stage) continue;
      bar.hidden = false;
      bar.max = total;
      bar.value = done;
    }
  });
  document.addEventListener("htmx:afterSwap", () => {
    const run = document.getElementById("run");
    const state = document.getElementById("state");
    if (!run || !state) return;
    state.textContent = run.dataset.state;
    state.className = `badge ${run.dataset.state}`;
  });
})();
