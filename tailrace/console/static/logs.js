"use strict";
// A window of at most MOST lines that moves through the log: more are loaded at its edges and others
// dropped, so that a log of a million lines costs what a short one does.
(() => {
  const MOST = 1200;
  const PART = 400;
  const log = document.getElementById("log");
  if (!log) return;
  const { run, stage, level, contains } = log.dataset;
  const followButton = document.getElementById("follow");
  const countLabel = document.getElementById("log-count");
  let attempt = Number(log.dataset.attempt);
  let count = Number(log.dataset.count);
  let isAtEnd = document.getElementById("later").hidden;
  let isFollowing = isAtEnd;
  let isLoading = false;
  let pending = [];
  let hasFrame = false;

  const rows = () => log.querySelectorAll(".line");
  const number = (row) => Number(row.dataset.line);

  function row([sequence, clock, severity, text]) {
    const line = document.createElement("div");
    line.className = `line ${severity}`;
    line.dataset.line = sequence;
    for (const [name, content] of [["at", sequence], ["at", clock], ["message", text]]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = content;
      line.append(part, " ");
    }
    return line;
  }

  function showCount() {
    countLabel.textContent = `${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}`;
    document.getElementById("line").max = count;
  }

  function setFollowing(value) {
    isFollowing = value;
    followButton.setAttribute("aria-pressed", String(value));
    if (value) log.scrollTop = log.scrollHeight;
  }

  async function fetchLines(from, direction, size, severity = level, text = contains) {
    const query = new URLSearchParams({ stage, attempt, from, direction, size, level: severity, contains: text });
    const response = await fetch(`/runs/${run}/lines?${query}`, { headers: { "HX-Request": "true" } });
    if (!response.ok) throw new Error(String(response.status));
    const page = await response.json();
    count = Math.max(count, page.count);
    showCount();
    return page;
  }

  // A filter reads a limited part of the log at a time.
  async function fetchSome(from, direction, size, severity, text) {
    let page = await fetchLines(from, direction, size, severity, text);
    for (let tries = 0; !page.lines.length && page.next && tries < 200; tries++) {
      page = await fetchLines(page.next, direction, size, severity, text);
    }
    return page;
  }

  async function guarded(work) {
    if (isLoading) return;
    isLoading = true;
    try {
      await work();
    } catch {
      countLabel.textContent = "The lines could not be loaded.";
    } finally {
      isLoading = false;
    }
  }

  const loadEarlier = () =>
    guarded(async () => {
      const first = rows()[0];
      if (!first || number(first) <= 1) return;
      const page = await fetchSome(number(first) - 1, "back", PART);
      const height = log.scrollHeight;
      log.prepend(...page.lines.map(row));
      log.scrollTop += log.scrollHeight - height;
      for (const extra of Array.from(rows()).slice(MOST)) {
        extra.remove();
        isAtEnd = false;
      }
    });

  const loadLater = () =>
    guarded(async () => {
      const last = Array.from(rows()).at(-1);
      if (!last || isAtEnd) return;
      const page = await fetchSome(number(last) + 1, "on", PART);
      append(page.lines);
      if (!page.next) isAtEnd = true;
    });

  function append(lines) {
    const known = Array.from(rows()).at(-1);
    const after = known ? number(known) : 0;
    const fresh = lines.filter((line) => line[0] > after).slice(-MOST);
    if (!fresh.length) return;
    const empty = document.getElementById("log-empty");
    if (empty) empty.remove();
    log.append(...fresh.map(row));
    const all = rows();
    const top = log.scrollTop;
    let removed = 0;
    for (let i = 0; i < all.length - MOST; i++) {
      removed += all[i].offsetHeight;
      all[i].remove();
    }
    if (isFollowing) log.scrollTop = log.scrollHeight;
    else if (removed) log.scrollTop = top - removed;
  }

  const moveTo = (place) =>
    guarded(async () => {
      setFollowing(false);
      const from = Math.max(1, place - PART / 2);
      const page = await fetchSome(from, "on", PART);
      log.replaceChildren(...page.lines.map(row));
      isAtEnd = !page.next;
      const goal = Array.from(rows()).find((line) => number(line) >= place);
      if (goal) {
        goal.classList.add("goal");
        goal.scrollIntoView({ block: "center" });
      }
    });

  const toError = (direction) =>
    guarded(async () => {
      const top = log.getBoundingClientRect();
      const goal = log.querySelector(".goal") || Array.from(rows()).find((line) => line.getBoundingClientRect().top >= top.top);
      const here = goal ? number(goal) : 1;
      const page = await fetchSome(direction === "on" ? here + 1 : here - 1, direction, 1, "error", "");
      if (page.lines.length) window.setTimeout(() => moveTo(page.lines[0][0]));
      else countLabel.textContent = "There is no further error.";
    });

  const toEnd = () =>
    guarded(async () => {
      const page = await fetchSome(0, "back", PART);
      log.replaceChildren(...page.lines.map(row));
      isAtEnd = true;
      setFollowing(true);
    });

  // Lines of many events are shown together, once a frame.
  function flush() {
    hasFrame = false;
    const lines = pending;
    pending = [];
    if (isAtEnd) append(lines);
    showCount();
  }

  document.addEventListener("live:lines", (event) => {
    if (event.detail.attempt !== attempt) {
      attempt = event.detail.attempt;
      count = 0;
      pending = [];
      log.replaceChildren();
      isAtEnd = true;
    }
    const lines = event.detail.lines;
    count = Math.max(count, lines.at(-1)[0]);
    pending.push(...lines);
    if (pending.length > 2 * MOST) pending = pending.slice(-MOST);
    if (!hasFrame) {
      hasFrame = true;
      window.requestAnimationFrame(flush);
    }
  });

  log.addEventListener("scroll", () => {
    const rest = log.scrollHeight - log.scrollTop - log.clientHeight;
    if (rest > 40 && isFollowing) setFollowing(false);
    else if (rest <= 4 && isAtEnd && !isFollowing) setFollowing(true);
    if (log.scrollTop < 400) loadEarlier();
    if (rest < 400) loadLater();
  });
  followButton.addEventListener("click", () => (isFollowing ? setFollowing(false) : isAtEnd ? setFollowing(true) : toEnd()));
  document.getElementById("error-before").addEventListener("click", () => toError("back"));
  document.getElementById("error-after").addEventListener("click", () => toError("on"));
  document.getElementById("goto").addEventListener("submit", (event) => {
    event.preventDefault();
    const place = Number(document.getElementById("line").value);
    if (place >= 1) moveTo(place);
  });
  for (const id of ["earlier", "later"]) document.getElementById(id).hidden = true;
  for (const id of ["error-before", "error-after", "goto", "follow"]) document.getElementById(id).hidden = false;
  log.classList.add("scrolling");
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  setFollowing(isFollowing);
})();
