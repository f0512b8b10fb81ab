"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [T, H, W] = data.grid, CELLS = T * H * W, S = data.layers.length;
const $ = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);
const facts = new DataView(bytes(data.facts).buffer), LUT = bytes(data.colours), VALUE = new Float32Array(256);
for (let c = 1; c < 256; c++) VALUE[c] = 2 ** ((c - 1) / data.levels + data.lowest);
const state = { word: data.nouns[0], layer: 0, sink: data.sink, power: 1, t: 0 };
let maps = null, frames = [], playing = null;

async function inflated(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A sink's block: the fused maps of all words, then each layer's maps of the words that have them. Of each map there are
// facts, which are exact: its peak, and its share of each patch.
function mapOf(view) {
  const layered = data.words_with_layers.length, block = data.words + S * layered;
  let at = (view * data.sinks.length + data.sinks.indexOf(state.sink)) * block;
  at += state.layer === 0 ? state.word : data.words + (state.layer - 1) * layered + data.words_with_layers.indexOf(state.word);
  const fact = (i) => facts.getFloat32(4 * (at * (T + 1) + i), true);
  return {
    codes: maps.subarray(at * CELLS, (at + 1) * CELLS),
    peak: fact(0),
    share: Array.from({ length: T }, (_, t) => fact(1 + t)),
  };
}

// The map between the centres of its cells is bilinear, as training compares it with a mask.
function draw(canvas, codes, t, top) {
  const context = canvas.getContext("2d", { willReadFrequently: true }), { width, height } = canvas;
  context.drawImage(frames[t], 0, 0, width, height);
  const picture = context.getImageData(0, 0, width, height), p = picture.data, base = t * H * W;
  const columns = Array.from({ length: width }, (_, x) => {
    const at = Math.min(Math.max((x + 0.5) * W / width - 0.5, 0), W - 1), left = Math.floor(at);
    return [left, Math.min(left + 1, W - 1), at - left];
  });
  for (let y = 0, i = 0; y < height; y++) {
    const at = Math.min(Math.max((y + 0.5) * H / height - 0.5, 0), H - 1), upper = Math.floor(at), v = at - upper;
    const row0 = base + upper * W, row1 = base + Math.min(upper + 1, H - 1) * W;
    for (let x = 0; x < width; x++, i += 4) {
      const [l, r, u] = columns[x];
      const value = (VALUE[codes[row0 + l]] * (1 - u) + VALUE[codes[row0 + r]] * u) * (1 - v)
        + (VALUE[codes[row1 + l]] * (1 - u) + VALUE[codes[row1 + r]] * u) * v;
      const heat = Math.min(value / top, 1) ** state.power, alpha = data.least_alpha + (1 - data.least_alpha) * heat;
      const grey = (p[i] + p[i + 1] + p[i + 2]) / 3 * data.dimmed * (1 - alpha), colour = 3 * Math.round(heat * 255);
      for (let k = 0; k < 3; k++) p[i + k] = grey + LUT[colour + k] * alpha;
    }
  }
  context.putImageData(picture, 0, 0);
}

// The model that the first is compared with stands on the left.
const order = data.views.map((_, i) => data.views.length - 1 - i);
const panels = order.map((view) => {
  const figure = element("figure"), canvas = element("canvas"), caption = element("figcaption");
  const share = element("b");
  caption.append(element("span", { textContent: data.views[view].name }), share);
  caption.style.borderTopColor = data.views[view].colour;
  figure.append(canvas, caption);
  return { view, figure, canvas, share, strip: [] };
});

function text(number, asked) {
  const line = element("div", { className: asked ? "text asked" : "text" });
  for (const [piece, word] of data.texts[number]) {
    if (word < 0) { line.append(piece); continue; }
    const button = element("button", { className: "word", textContent: piece, onclick: () => choose({ word }) });
    if (data.nouns.includes(word)) button.classList.add("noun");
    button.dataset.word = word;
    line.append(button);
  }
  return line;
}

function build() {
  const who = (name) => element("div", { className: "who", textContent: name });
  $("said").append(who("question"), text(0, true));
  for (let number = 1; number < data.texts.length; number++) {
    const names = data.views.filter((view) => view.text === number)
      .map((view) => (view.finish === "limit" ? `${view.name} (cut off)` : view.name));
    $("said").append(who(names.join(" and ")), text(number, false));
  }
  const names = ["fused", ...data.layers.map((layer) => `layer ${layer}`)];
  names.forEach((name, i) => $("layer").append(element("option", { value: i, textContent: name })));
  $("sink").value = state.sink;
  const still = element("figure"), picture = element("canvas"), caption = element("figcaption");
  caption.append(element("span", { textContent: "frame" }));
  still.append(picture, caption);
  $("views").append(still, ...panels.map((panel) => panel.figure));
  const { naturalWidth: width, naturalHeight: height } = frames[0], wide = Math.max(width, 320);
  for (const canvas of [picture, ...panels.map((panel) => panel.canvas)]) {
    canvas.width = wide;
    canvas.height = Math.round(wide * height / width);
  }
  state.picture = picture;
  for (const panel of panels) {
    const label = element("p", { className: "small soft", textContent: data.views[panel.view].name });
    const row = element("div", { className: "patches" });
    for (let t = 0; t < T; t++) {
      const canvas = element("canvas", { width: 96, height: Math.round(96 * height / width) });
      const button = element("button", { onclick: () => choose({ t }) }), time = element("small");
      button.append(canvas, time);
      row.append(button);
      panel.strip.push({ canvas, button, time });
    }
    $("strips").append(label, row);
  }
  const bar = $("bar").getContext("2d"), colours = bar.createImageData(256, 1);
  for (let i = 0; i < 256; i++) colours.data.set([LUT[3 * i], LUT[3 * i + 1], LUT[3 * i + 2], 255], 4 * i);
  bar.putImageData(colours, 0, 0);
}

function curve(shown) {
  const canvas = $("curve"), ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const c = canvas.getContext("2d"), left = 44, lower = height - 22, upper = 8;
  c.scale(ratio, ratio);
  c.font = "11px system-ui, sans-serif";
  const most = Math.max(...shown.flatMap(({ share }) => share), 1 / T) * 1.08;
  const x = (t) => left + (width - left - 14) * (T > 1 ? t / (T - 1) : 0.5), y = (s) => lower - (lower - upper) * s / most;
  c.strokeStyle = "#e3e7eb"; c.fillStyle = "#8b949e";
  for (const s of [0, most / 2.16, most / 1.08]) {
    c.beginPath(); c.moveTo(left, y(s)); c.lineTo(width, y(s)); c.stroke();
    c.textAlign = "right"; c.fillText(`${(100 * s).toFixed(0)} %`, left - 6, y(s) + 4);
  }
  c.setLineDash([4, 4]); c.strokeStyle = "#8b949e";
  c.beginPath(); c.moveTo(left, y(1 / T)); c.lineTo(width, y(1 / T)); c.stroke();
  c.setLineDash([]);
  c.textAlign = "center";
  const every = Math.ceil(T / 16);
  data.times_s.forEach((time, t) => { if (t % every === 0) c.fillText(`${time.toFixed(1)} s`, x(t), height - 5); });
  c.strokeStyle = "#1c2127"; c.beginPath(); c.moveTo(x(state.t), upper); c.lineTo(x(state.t), lower); c.stroke();
  for (const { panel, share } of shown) {
    c.strokeStyle = c.fillStyle = data.views[panel.view].colour;
    c.lineWidth = 2; c.beginPath();
    share.forEach((s, t) => (t ? c.lineTo(x(t), y(s)) : c.moveTo(x(t), y(s))));
    c.stroke();
    share.forEach((s, t) => { c.beginPath(); c.arc(x(t), y(s), t === state.t ? 5 : 2.5, 0, 7); c.fill(); });
  }
  canvas.onclick = (event) => {
    const at = (event.offsetX - left) / (width - left - 14) * (T - 1);
    choose({ t: Math.min(Math.max(Math.round(at), 0), T - 1) });
  };
}

function choose(change) {
  Object.assign(state, change);
  if (!data.words_with_layers.includes(state.word)) state.layer = 0;
  $("layer").value = state.layer;
  $("layer").disabled = !data.words_with_layers.includes(state.word);
  const shown = panels.map((panel) => ({ panel, ...mapOf(panel.view) }));
  const top = Math.max(...shown.map(({ peak }) => peak), 1e-9);
  for (const { panel, codes, share } of shown) {
    draw(panel.canvas, codes, state.t, top);
    panel.share.textContent = `${(100 * share[state.t]).toFixed(0)} % at this time`;
    panel.strip.forEach(({ canvas, button, time }, t) => {
      if (!("t" in change) || Object.keys(change).length > 1) draw(canvas, codes, t, top);
      button.setAttribute("aria-pressed", t === state.t);
      time.textContent = `${data.times_s[t].toFixed(1)} s · ${(100 * share[t]).toFixed(0)} %`;
    });
  }
  state.picture.getContext("2d").drawImage(frames[state.t], 0, 0, state.picture.width, state.picture.height);
  curve(shown);
  $("top").textContent = `${top < 10 ? top.toFixed(1) : Math.round(top)} × an even spread`;
  $("time").value = state.t;
  $("clock").textContent = `${data.times_s[state.t].toFixed(1)} s`;
  for (const button of document.querySelectorAll(".word")) {
    const pressed = Number(button.dataset.word) === state.word;
    button.setAttribute("aria-pressed", pressed);
    if (pressed) $("title").textContent = button.textContent;
  }
}

function play() {
  if (playing) { clearInterval(playing); playing = null; } else playing = setInterval(() => choose({ t: (state.t + 1) % T }), 500);
  $("play").textContent = playing ? "❚❚" : "▶";
}

$("play").onclick = play;
$("time").oninput = (event) => choose({ t: Number(event.target.value) });
$("layer").onchange = (event) => choose({ layer: Number(event.target.value) });
$("sink").onchange = (event) => choose({ sink: event.target.value });
$("colours").onchange = (event) => choose({ power: Number(event.target.value) });
addEventListener("resize", () => choose({ t: state.t }));
addEventListener("keydown", (event) => {
  if (event.target.matches?.("select, input")) return;
  if (event.key === "ArrowRight") choose({ t: (state.t + 1) % T });
  if (event.key === "ArrowLeft") choose({ t: (state.t + T - 1) % T });
});

(async () => {
  const loaded = (uri) => new Promise((resolve, reject) => {
    const picture = element("img", { onload: () => resolve(picture), onerror: reject, src: uri });
  });
  [maps, frames] = await Promise.all([inflated(data.maps), Promise.all(data.frames.map(loaded))]);
  build();
  choose({ word: state.word, t: 0 });
})();
