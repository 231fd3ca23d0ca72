"use strict";
// Selected runs stay selected when the live list is replaced.
(() => {
  let selection = [];
  document.addEventListener("htmx:beforeSwap", () => {
    selection = Array.from(document.querySelectorAll("#runs input:checked"), (box) => box.value);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const box of document.querySelectorAll("#runs input[type=checkbox]")) {
      box.checked = selection.includes(box.value);
    }
  });
})();
