"use strict";
// One stream of events a page (body[data-stream]): each event becomes the DOM event "live:NAME" on
// document, with its data as detail. It is closed while the tab is hidden, because a browser allows
// six connections to a host, and continues after the cursor of the last event.
(() => {
  const notice = document.getElementById("away");
  const say = (text) => {
    notice.textContent = text;
    notice.hidden = !text;
  };

  const body = document.body;
  const names = (body.dataset.events || "").split(" ").filter(Boolean);
  let cursor = body.dataset.cursor || "";
  let source = null;
  let timer = 0;
  let hasEnded = !body.dataset.stream;

  function receive(name, event) {
    if (event.lastEventId) cursor = event.lastEventId;
    say("");
    document.dispatchEvent(new CustomEvent(`live:${name}`, { detail: JSON.parse(event.data) }));
  }

  function close() {
    window.clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function open() {
    if (hasEnded || source || document.hidden) return;
    const url = new URL(body.dataset.stream, window.location.href);
    if (cursor) url.searchParams.set("cursor", cursor);
    source = new EventSource(url);
    for (const name of names) source.addEventListener(name, (event) => receive(name, event));
    source.addEventListener("back", () => say(""));
    source.addEventListener("away", (event) => say(JSON.parse(event.data)));
    source.addEventListener("end", () => {
      hasEnded = true;
      close();
      document.dispatchEvent(new CustomEvent("live:end"));
    });
    source.addEventListener("error", () => {
      say("The console does not answer. This page continues when it is back.");
      // After a refusal the browser itself tries no more.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        timer = window.setTimeout(open, 2000);
      }
    });
    source.addEventListener("open", () => say(""));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  document.addEventListener("live:restart", (event) => {
    // A page may ask for another stream, with other filters.
    close();
    hasEnded = false;
    body.dataset.stream = event.detail.stream;
    cursor = event.detail.cursor;
    open();
  });
  open();

  // Parts that htmx cannot load.
  document.addEventListener("htmx:sendError", () => say("The console does not answer."));
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    say(status === 503 ? "The control plane does not answer. This page continues when it is back." : `A part of this page could not be loaded (${status}).`);
  });
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.xhr.status < 400 && !source) say("");
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
