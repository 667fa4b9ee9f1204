"use strict";
// Buttons that do nothing without this script are hidden until it runs.
for (const bar of document.querySelectorAll(".zoom")) bar.hidden = false;
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  const scroll = button.closest(".frame").querySelector(".scroll");
  const svg = scroll.querySelector("svg");
  const natural = svg.viewBox.baseVal.width;
  const now = svg.getBoundingClientRect().width;
  const factor = Number(button.dataset.zoom);
  const width = factor ? Math.min(Math.max(now * factor, natural / 6), natural * 4) : Math.min(scroll.clientWidth, natural);
  svg.style.width = width + "px";
  svg.style.height = "auto";
});
// Paper cannot be opened: what a stage did is printed, and every image; the whole graphs are not.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.stage:not([open]), details.more:not([open])")];
  for (const stage of opened) stage.open = true;
});
window.addEventListener("afterprint", () => {
  for (const stage of opened) stage.open = false;
});
