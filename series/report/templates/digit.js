// A drawn digit, made like MNIST's and classified by the weights in weights.js.
"use strict";

const SIDE = 28, BOX = 20, FAINT = 0.2; // as in common/inference.py

// Maps are { channels, side, values }: channel by channel, row by row.
const LAYERS = {
  Conv2d: convolve,
  MaxPool2d: pool,
  BatchNorm2d: normalise,
  ReLU: (map) => ({ ...map, values: map.values.map((value) => Math.max(0, value)) }),
  Dropout: (map) => map,
  GlobalAveragePool: average,
  Linear: connect,
};

/** The ten scores of an image of 28×28 values from 0 to 1. */
function scores(image) {
  const values = Array.from(image, (value) => (value - NETWORK.mean) / NETWORK.std);
  const first = { channels: 1, side: SIDE, values };
  return NETWORK.layers.reduce((map, layer) => LAYERS[layer.kind](map, layer), first).values;
}

/** Scores as probabilities. */
function softmax(values) {
  const powers = values.map((value) => Math.exp(value - Math.max(...values)));
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((power) => power / sum);
}

/** A setting of a layer whose two sides are alike. */
const side = (setting) => (Array.isArray(setting) ? setting[0] : setting);

/** The places of a window over a map: for each unit, what `look(unit, place)` does with those inside. */
function slide(map, layer, look) {
  const [kernel, stride, padding, dilation] = ["kernel_size", "stride", "padding", "dilation"].map((key) => side(layer[key]));
  const sideOut = Math.floor((map.side + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;
  for (let unit = 0; unit < sideOut ** 2; unit++) {
    for (let tap = 0; tap < kernel ** 2; tap++) {
      const row = Math.floor(unit / sideOut) * stride - padding + Math.floor(tap / kernel) * dilation;
      const column = (unit % sideOut) * stride - padding + (tap % kernel) * dilation;
      const inside = row >= 0 && column >= 0 && row < map.side && column < map.side;
      if (inside) look(unit, tap, row * map.side + column);
    }
  }
  return sideOut;
}

function convolve(map, layer) {
  const { weight, bias } = layer.state;
  const [channels, depth] = weight.shape, taps = side(layer.kernel_size) ** 2, area = map.side ** 2;
  const values = [];
  let sideOut;
  for (let channel = 0; channel < channels; channel++) {
    const start = Math.floor(channel / (channels / layer.groups)) * depth; // of the channels that it looks at
    const sums = [];
    sideOut = slide(map, layer, (unit, tap, place) => {
      for (let level = 0; level < depth; level++) {
        const product = weight.values[(channel * depth + level) * taps + tap] * map.values[(start + level) * area + place];
        sums[unit] = (sums[unit] ?? bias?.values[channel] ?? 0) + product;
      }
    });
    values.push(...sums);
  }
  return { channels, side: sideOut, values };
}

function pool(map, layer) {
  const area = map.side ** 2, values = [];
  let sideOut;
  for (let channel = 0; channel < map.channels; channel++) {
    const highest = [];
    sideOut = slide(map, layer, (unit, tap, place) => {
      highest[unit] = Math.max(highest[unit] ?? -Infinity, map.values[channel * area + place]);
    });
    values.push(...highest);
  }
  return { channels: map.channels, side: sideOut, values };
}

function normalise(map, layer) {
  const { weight, bias, running_mean: mean, running_var: variance } = layer.state, area = map.side ** 2;
  const values = map.values.map((value, place) => {
    const channel = Math.floor(place / area);
    const scale = weight.values[channel] / Math.sqrt(variance.values[channel] + layer.eps);
    return (value - mean.values[channel]) * scale + bias.values[channel];
  });
  return { ...map, values };
}

function average(map) {
  const area = map.side ** 2;
  const sum = (channel) => map.values.slice(channel * area, (channel + 1) * area).reduce((one, other) => one + other);
  return { channels: map.channels, side: 1, values: Array.from({ length: map.channels }, (_, channel) => sum(channel) / area) };
}

function connect(map, layer) {
  const { weight, bias } = layer.state, [channels, depth] = weight.shape;
  const row = (channel) => weight.values.slice(channel * depth, (channel + 1) * depth);
  const score = (channel) => row(channel).reduce((sum, one, place) => sum + one * map.values[place], bias.values[channel]);
  return { channels, side: 1, values: Array.from({ length: channels }, (_, channel) => score(channel)) };
}

/** Ink (0 to 1, rows of `width`) as MNIST has it: scaled into 20×20, its centre of mass in the middle of 28×28. */
function asMnist(ink, width) {
  const rows = [], columns = [];
  ink.forEach((value, place) => {
    if (value > FAINT) {
      rows.push(Math.floor(place / width));
      columns.push(place % width);
    }
  });
  const ends = (places) => [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b)) + 1];
  const [[top, bottom], [left, right]] = [ends(rows), ends(columns)];
  const lines = [];
  for (let row = top; row < bottom; row++) lines.push(Array.from(ink.slice(row * width + left, row * width + right)));
  const zoom = BOX / Math.max(bottom - top, right - left);
  const across = overlaps(lines[0].map((_, column) => lines.reduce((sum, line) => sum + line[column], 0)), zoom);
  const down = overlaps(lines.map((line) => line.reduce((sum, value) => sum + value, 0)), zoom);
  const narrow = lines.map((line) => across.map((share) => share.reduce((sum, [old, part]) => sum + part * line[old], 0)));
  return down.flatMap((share) => across.map((_, x) => share.reduce((sum, [old, part]) => sum + part * narrow[old][x], 0)));
}

/** For each of 28 pixels, the old ones it lies over and how much, along an axis whose lines hold so much `mass`. */
function overlaps(mass, zoom) {
  const total = mass.reduce((one, other) => one + other);
  const centre = mass.reduce((sum, one, old) => sum + (old + 0.5) * one, 0) / total;
  return Array.from({ length: SIDE }, (_, pixel) => {
    const start = (pixel - SIDE / 2) / zoom + centre, end = start + 1 / zoom;
    return mass
      .map((_, old) => [old, zoom * (Math.min(old + 1, end) - Math.max(old, start))])
      .filter(([, part]) => part > 0);
  });
}

/** The board, the pen, and the answer beside them. */
function setUp() {
  const board = document.getElementById("board"), paint = board.getContext("2d", { willReadFrequently: true });
  const marker = document.getElementById("pen"), size = board.width;
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const bar = document.createElement("li");
    bar.innerHTML = `<span>${digit}</span><span class="bar"><span></span></span><span class="percent"></span>`;
    return document.getElementById("chances").appendChild(bar);
  });
  let pen = { x: size / 2, y: size / 2 }, down = false, waiting = false;

  function draw(x, y) {
    Object.assign(paint, { lineWidth: 22, lineCap: "round", strokeStyle: "black" });
    paint.beginPath();
    paint.moveTo(pen.x, pen.y);
    paint.lineTo(x, y);
    paint.stroke();
    pen = { x, y };
    if (!waiting) requestAnimationFrame(tell); // a mouse moves more often than there is something to see
    waiting = true;
  }

  function clear() {
    paint.fillStyle = "white";
    paint.fillRect(0, 0, size, size);
    tell();
  }

  function tell() {
    waiting = false;
    const pixels = paint.getImageData(0, 0, size, size).data;
    const ink = Array.from({ length: size ** 2 }, (_, place) => 1 - pixels[4 * place] / 255);
    const some = ink.some((value) => value > FAINT), digit = some ? asMnist(ink, size) : new Array(SIDE ** 2).fill(0);
    const chances = some ? softmax(scores(digit)) : new Array(10).fill(0), best = Math.max(...chances);
    bars.forEach((bar, number) => {
      bar.querySelector(".bar span").style.width = `${100 * chances[number]}%`;
      bar.querySelector(".percent").textContent = some ? `${(100 * chances[number]).toFixed(1)}%` : "";
      bar.classList.toggle("best", some && chances[number] === best);
    });
    const words = `A ${chances.indexOf(best)}, with a probability of ${(100 * best).toFixed(1)}%.`;
    document.getElementById("answer").textContent = some ? words : "Nothing is drawn yet.";
    show(digit);
  }

  function show(digit) {
    const seen = document.getElementById("seen").getContext("2d"), picture = seen.createImageData(SIDE, SIDE);
    digit.forEach((value, place) => picture.data.set([0, 1, 2].map(() => 255 * (1 - value)).concat(255), 4 * place));
    seen.putImageData(picture, 0, 0);
  }

  function place(event) {
    const box = board.getBoundingClientRect();
    return [((event.clientX - box.left) * size) / box.width, ((event.clientY - box.top) * size) / box.height];
  }

  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    [pen.x, pen.y] = place(event);
    draw(pen.x, pen.y);
  });
  board.addEventListener("pointermove", (event) => event.buttons && draw(...place(event)));
  board.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8], " ": [0, 0], Escape: [0, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    if (event.key === "Escape") clear();
    if (event.key === " ") down = !down;
    const [x, y] = ["x", "y"].map((axis, i) => Math.min(size, Math.max(0, pen[axis] + moves[event.key][i])));
    if (down && event.key !== "Escape") draw(x, y);
    pen = { x, y };
    marker.hidden = false;
    marker.style.cssText = `left: ${(100 * x) / size}%; top: ${(100 * y) / size}%`;
    marker.classList.toggle("down", down);
  });
  board.addEventListener("blur", () => (marker.hidden = true));
  document.getElementById("clear").addEventListener("click", clear);
  document.getElementById("example").addEventListener("click", () => {
    clear();
    pen = { x: 80, y: 60 };
    for (const [x, y] of [[195, 60], [165, 130], [125, 230]]) draw(x, y);
  });
  document.getElementById("try").hidden = false;
  clear();
}

// A network with layers that are not known here would be told wrong: the board stays away then.
if (NETWORK.layers.every((layer) => layer.kind in LAYERS)) setUp();
