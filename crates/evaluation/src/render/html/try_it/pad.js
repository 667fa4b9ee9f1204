// The pad: drawing, what the network makes of it, and the self-test. Floats are in the drawing only; the network gets bytes.

const root = document.querySelector(".try-it");
const part = (name) => root.querySelector(`.try-${name}`);
const { network: graph, height, width, layers, test } = JSON.parse(document.querySelector(".try-data").textContent);
const network = networkOf(graph);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const thousands = (number) => number.toLocaleString("en-US").replace("-", "\u2212");

// Drawing. A stroke is a list of points, both coordinates from 0 to 1.

/// A digit fills 20 of 28 pixels; the pen is as wide as those of MNIST are.
const SIDE = height < width ? height : width;
const BOX = (SIDE * 20) / 28;
const RADIUS = (SIDE * 1.25) / 28;
/// A dot stays a dot.
const LEAST_EXTENT = 0.25;

let strokes = [];
let pen = { x: 0.5, y: 0.5, down: false, keyboard: false };

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const along = length === 0 ? 0 : Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1);
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

/// Strokes in pixels as bytes, with soft edges. By hand: what is read back from a canvas has noise added in some browsers.
function inked(lines) {
  const bytes = new Uint8Array(height * width);
  for (const line of lines) {
    for (let i = 0; i < line.length; i++) {
      const [from, to] = [line[Math.max(i - 1, 0)], line[i]];
      const reach = RADIUS + 1;
      const last = { row: Math.max(from[1], to[1]) + reach, column: Math.max(from[0], to[0]) + reach };
      for (let row = Math.max(Math.floor(Math.min(from[1], to[1]) - reach), 0); row < Math.min(height, last.row); row++) {
        for (let column = Math.max(Math.floor(Math.min(from[0], to[0]) - reach), 0); column < Math.min(width, last.column); column++) {
          const cover = Math.min(Math.max(RADIUS + 0.5 - distance([column + 0.5, row + 0.5], from, to), 0), 1);
          const at = row * width + column;
          bytes[at] = Math.max(bytes[at], Math.round(cover * 255));
        }
      }
    }
  }
  return bytes;
}

/// What was drawn as an image of the network: fitted into the box, its center of mass in the middle, as in MNIST.
function drawn() {
  const points = strokes.flat();
  if (points.length === 0) return null;
  const span = (axis) => {
    const all = points.map((point) => point[axis]);
    return [Math.min(...all), Math.max(...all)];
  };
  const [[left, right], [top, bottom]] = [span(0), span(1)];
  const scale = (BOX - 2 * RADIUS) / Math.max(right - left, bottom - top, LEAST_EXTENT);
  const placed = (down, across) => strokes.map((stroke) => stroke.map(([x, y]) => [
    (x - (left + right) / 2) * scale + width / 2 + across,
    (y - (top + bottom) / 2) * scale + height / 2 + down,
  ]));
  const first = inked(placed(0, 0));
  let [mass, rows, columns] = [0, 0, 0];
  first.forEach((byte, at) => {
    mass += byte;
    rows += byte * (Math.floor(at / width) + 0.5);
    columns += byte * ((at % width) + 0.5);
  });
  // By whole pixels, as there.
  return inked(placed(Math.round(height / 2 - rows / mass), Math.round(width / 2 - columns / mass)));
}

const pad = part("pad");
pad.height = Math.round((pad.width * height) / width);

/// Bytes on a canvas of as many pixels; gaps stay clear.
function paint(canvas, columns, rows, pixel) {
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at += 4) {
      const gray = pixel(row, column);
      if (gray !== null) image.data.set([gray, gray, gray, 255], at);
    }
  }
  context.putImageData(image, 0, 0);
}

function showPad(picture) {
  const context = pad.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, pad.width, pad.height);
  if (picture) {
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, pad.width, pad.height);
  }
  context.strokeStyle = context.fillStyle = "#fff";
  context.lineWidth = pad.width * 0.075;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0][0] * pad.width, stroke[0][1] * pad.height);
    for (const [x, y] of stroke) context.lineTo(x * pad.width, y * pad.height + 0.1);
    context.stroke();
  }
  if (pen.keyboard) {
    context.strokeStyle = pen.down ? "#ffd54a" : "#7fb4ff";
    context.lineWidth = 5;
    const [x, y] = [pen.x * pad.width, pen.y * pad.height];
    context.beginPath();
    context.arc(x, y, 20, 0, 7);
    context.moveTo(x - 32, y);
    context.lineTo(x + 32, y);
    context.moveTo(x, y - 32);
    context.lineTo(x, y + 32);
    context.stroke();
  }
}

// What the network makes of an image.

const MOST_SCORES = 10;

function showScores(output) {
  const scores = Array.from(output.data, (score, at) => ({ at, score }));
  const ranked = [...scores].sort((a, b) => b.score - a.score || a.at - b.at);
  const [best, second] = ranked;
  const lowest = ranked.at(-1).score;
  const answer = part("answer");
  const ahead = second ? `, ${thousands(best.score - second.score)} ahead of ${second.at}` : "";
  answer.replaceChildren(element("strong", { textContent: best.at }), ` with a score of ${thousands(best.score)}${ahead}.`);
  const shown = scores.length > MOST_SCORES ? ranked.slice(0, MOST_SCORES) : scores;
  const rows = shown.map(({ at, score }) => {
    const bar = element("div", { className: at === best.at ? "try-bar given" : "try-bar" });
    bar.style.width = `${(100 * (score - lowest)) / Math.max(best.score - lowest, 1)}%`;
    const name = element("th", { scope: "row", textContent: at === best.at ? `\u25b6 ${at}` : `${at}` });
    return element("tr", {}, name, element("td", {}, bar), element("td", { className: "number", textContent: thousands(score) }));
  });
  part("scores").tBodies[0].replaceChildren(...rows);
}

/// Channels of a tensor for one image: how many, and their extents.
function channelsOf(shape) {
  const extents = shape.slice(1);
  if (extents.length === 3) return extents;
  const count = extents.reduce((product, extent) => product * extent, 1);
  return [count, 1, 1];
}

const MOST_CHANNELS = 128;

function describe(shape, data) {
  const [channels, rows, columns] = channelsOf(shape);
  let [least, greatest, zeros] = [data[0], data[0], 0];
  for (const code of data) {
    if (code < least) least = code;
    if (code > greatest) greatest = code;
    if (code === 0) zeros++;
  }
  const extents = rows * columns === 1 ? `${thousands(channels)} codes` : `${channels} channels of ${rows} by ${columns}`;
  const share = Math.round((100 * zeros) / data.length);
  return { least, greatest, text: `${extents}, from ${least} to ${greatest}, ${share} % of them 0` };
}

function showLayer({ canvas, caption, name }, { shape, data }) {
  const [channels, rows, columns] = channelsOf(shape);
  const { least, greatest, text } = describe(shape, data);
  const gap = rows * columns === 1 ? 0 : 1;
  const shown = Math.min(channels, MOST_CHANNELS * (gap ? 1 : 8));
  const across = Math.min(shown, gap ? 8 : 32);
  const down = Math.ceil(shown / across);
  const [stepDown, stepAcross] = [rows + gap, columns + gap];
  const total = [across * stepAcross - gap, down * stepDown - gap];
  paint(canvas, total[0], total[1], (row, column) => {
    const channel = Math.floor(row / stepDown) * across + Math.floor(column / stepAcross);
    const [y, x] = [row % stepDown, column % stepAcross];
    if (y === rows || x === columns || channel >= shown) return null;
    return Math.round((255 * (data[(channel * rows + y) * columns + x] - least)) / Math.max(greatest - least, 1));
  });
  canvas.setAttribute("aria-label", `${name}: ${text}`);
  const more = shown < channels ? `; the first ${shown} are drawn` : "";
  caption.replaceChildren(element("code", { textContent: name }), ` ${text}${more}`);
}

const MOST_LAYERS = 40;
const panes = layers.slice(0, MOST_LAYERS).map(({ value, name }) => {
  const [canvas, caption] = [element("canvas"), element("figcaption")];
  canvas.setAttribute("role", "img");
  part("layers").append(element("figure", {}, canvas, caption));
  return { value, name, canvas, caption };
});
if (layers.length > MOST_LAYERS) {
  part("inside").append(element("p", { className: "note", textContent: `The first ${MOST_LAYERS} of ${layers.length} are shown.` }));
}

function show(bytes) {
  const seen = part("seen");
  paint(seen, width, height, (row, column) => bytes[row * width + column]);
  try {
    const tensors = network(bytes);
    part("inside").hidden = false;
    showScores(tensors[graph.output]);
    for (const pane of panes) showLayer(pane, tensors[pane.value]);
  } catch (error) {
    part("answer").textContent = `The network does not run here: ${error.message}.`;
  }
}

function blank() {
  part("answer").textContent = "Draw something, or take an image of the test set.";
  part("scores").tBodies[0].replaceChildren();
  part("inside").hidden = true;
}

let chosen = null;
let waiting = 0;

/// The pad anew; if there are strokes, the rest as well.
function redraw() {
  showPad(chosen === null ? null : part("seen"));
  if (strokes.length === 0) return;
  // Not more often than the network is done.
  waiting ||= setTimeout(() => {
    waiting = 0;
    const bytes = drawn();
    if (bytes) show(bytes);
  }, 30);
}

function clear() {
  strokes = [];
  pen.down = false;
  choose(null);
  showPad(null);
  paint(part("seen"), width, height, () => 0);
  blank();
  sayPen();
}

// Samples.

const samples = [...root.querySelectorAll("[data-sample]")];
const pixels = test ? test.images.map((image) => bytesOf(image.pixels)) : [];

function choose(position) {
  chosen = position;
  samples.forEach((sample, at) => sample.setAttribute("aria-pressed", at === position));
  if (position === null) return;
  strokes = [];
  show(pixels[position]);
  showPad(part("seen"));
}

samples.forEach((sample, position) => sample.addEventListener("click", () => choose(position)));

// Pens.

const within = (coordinate) => Math.min(Math.max(coordinate, 0), 1);

function sayPen() {
  part("pen").textContent = pen.keyboard ? `The pen is ${pen.down ? "down" : "up"}.` : "";
}

function begin(x, y) {
  choose(null);
  strokes.push([[x, y]]);
}

const pointAt = (event) => {
  const area = pad.getBoundingClientRect();
  return [within((event.clientX - area.left) / area.width), within((event.clientY - area.top) / area.height)];
};
pad.addEventListener("pointerdown", (event) => {
  // A second finger draws nothing.
  if (event.button !== 0 || !event.isPrimary) return;
  pad.setPointerCapture(event.pointerId);
  Object.assign(pen, { down: false, keyboard: false });
  sayPen();
  begin(...pointAt(event));
  redraw();
});
pad.addEventListener("pointermove", (event) => {
  if (!pad.hasPointerCapture(event.pointerId)) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  for (const move of moves.length ? moves : [event]) strokes.at(-1)?.push(pointAt(move));
  redraw();
});

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
pad.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (arrow) {
    const step = event.shiftKey ? 0.01 : 0.04;
    Object.assign(pen, { keyboard: true, x: within(pen.x + arrow[0] * step), y: within(pen.y + arrow[1] * step) });
    if (pen.down) strokes.at(-1).push([pen.x, pen.y]);
  } else if (event.key === " ") {
    Object.assign(pen, { keyboard: true, down: !pen.down });
    if (pen.down) begin(pen.x, pen.y);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
  sayPen();
  redraw();
});
pad.addEventListener("blur", () => {
  if (!pen.keyboard) return;
  Object.assign(pen, { keyboard: false, down: false });
  sayPen();
  redraw();
});
part("clear").addEventListener("click", clear);

// The self-test.

const idle = () => new Promise((done) => (window.requestIdleCallback ? requestIdleCallback(done, { timeout: 300 }) : setTimeout(done, 20)));

/// What differs for one image; null if nothing does. Adds how long the network took.
function difference(position, times) {
  const image = test.images[position];
  const start = performance.now();
  const tensors = network(pixels[position]);
  times.push(performance.now() - start);
  const output = Array.from(tensors[graph.output].data);
  const at = image.outputs.findIndex((expected, position) => expected !== output[position]);
  if (output.length !== image.outputs.length || at >= 0) {
    return `class ${at} has ${output[at]}, the engine has ${image.outputs[at]}`;
  }
  const inner = test.tensors.findIndex(({ value }, position) => digestOf(tensors[value]) !== image.digests[position]);
  return inner < 0 ? null : `the inner tensor ${test.tensors[inner].name} has other bits`;
}

let testing = false;
async function selfTest() {
  if (testing) return;
  testing = true;
  const badge = part("badge");
  const [times, differences] = [[], []];
  for (let position = 0; position < test.images.length; position++) {
    badge.className = "try-badge unknown";
    badge.textContent = `? ${position} of ${test.images.length} images compared`;
    await idle();
    try {
      const found = difference(position, times);
      if (found) differences.push(`image ${test.images[position].image}: ${found}`);
    } catch (error) {
      differences.push(`image ${test.images[position].image}: ${error.message}`);
    }
  }
  const equal = test.images.length - differences.length;
  const milliseconds = times.sort((a, b) => a - b)[times.length >> 1];
  const speed = milliseconds >= 0.1 ? ` An image takes ${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms here.` : "";
  badge.className = differences.length ? "try-badge no" : "try-badge yes";
  const verdict = `${equal} of ${test.images.length} images: same bits as the engine`;
  badge.textContent = differences.length
    ? `\u2717 ${verdict}; ${differences[0]}.`
    : `\u2713 ${verdict}, in all ${test.images[0].outputs.length} scores and all ${test.tensors.length} inner tensors.${speed}`;
  badge.dataset.equal = equal;
  testing = false;
}

root.hidden = false;
part("check").hidden = !test;
part("check").addEventListener("click", selfTest);
// What follows waits until the page is there.
idle().then(() => {
  if (!test) return clear();
  choose(0);
  return selfTest();
});
