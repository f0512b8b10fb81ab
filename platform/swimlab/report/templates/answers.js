"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);
const PAGE = 100;
const KINDS = ["type", "size", "look", "finish"];
let limit = PAGE;

function options(id, values) {
  for (const value of [...new Set(values)].filter(Boolean).sort()) $(id).append(element("option", { value, textContent: value }));
}

const score = (row) => row.scores[data.metrics.indexOf($("metric").value)] ?? null;
const shown = (value) => (value === null ? "–" : Number(value.toFixed(3)).toString());

function matching() {
  const low = $("low").value === "" ? -Infinity : Number($("low").value);
  const high = $("high").value === "" ? Infinity : Number($("high").value);
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = data.rows.filter((row) => {
    const value = score(row);
    if ((low > -Infinity || high < Infinity) && (value === null || value < low || value > high)) return false;
    if (KINDS.some((kind) => $(kind).value && row[kind] !== $(kind).value)) return false;
    const text = `${row.key} ${row.video} ${row.question} ${row.answer} ${row.reference}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const sign = Number($("order").value);
  if (sign === 0) return rows;
  return rows.sort((a, b) => {
    const [left, right] = [score(a), score(b)];
    if (left === null || right === null) return (left === null) - (right === null);
    return sign * (left - right);
  });
}

// The words of a text, those that the other text lacks marked.
function compared(text, other, className) {
  const cell = element("td", { className: `text ${className}` });
  const known = new Set(other.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
  for (const piece of text.split(/([\p{L}\p{N}]+)/u)) {
    if (data.referenced && /[\p{L}\p{N}]/u.test(piece) && !known.has(piece.toLowerCase())) cell.append(element("mark", { textContent: piece }));
    else cell.append(piece);
  }
  return cell;
}

function line(row) {
  const tr = element("tr"), asked = element("td", { textContent: row.question }), scores = element("details");
  scores.append(element("summary", { textContent: "all scores" }));
  asked.append(element("small", { textContent: [row.type, row.key, row.video].filter(Boolean).join(" · ") }));
  data.metrics.forEach((name, i) => scores.append(element("div", { textContent: `${name} ${shown(row.scores[i] ?? null)}` })));
  asked.append(scores);
  const answer = compared(row.answer, row.reference, "answer-text");
  if (row.finish !== "stop") answer.append(element("small", { textContent: row.failure || `ended: ${row.finish}` }));
  tr.append(element("td", { className: "num primary", textContent: shown(score(row)) }), asked, answer);
  if (data.referenced) tr.append(compared(row.reference, row.answer, ""));
  return tr;
}

function spread(rows) {
  const canvas = $("spread"), c = canvas.getContext("2d"), values = rows.map(score).filter((value) => value !== null);
  canvas.width = 220; canvas.height = 34;
  if (!values.length) return;
  const low = Math.min(...values), high = Math.max(...values), bins = new Array(20).fill(0);
  for (const value of values) bins[high > low ? Math.min(19, Math.floor(20 * (value - low) / (high - low))) : 10] += 1;
  const most = Math.max(...bins);
  c.fillStyle = "#0b6fa4";
  bins.forEach((n, i) => c.fillRect(i * 11, 34 - 30 * n / most, 10, 30 * n / most));
}

function draw() {
  const rows = matching();
  $("rows").tBodies[0].replaceChildren(...rows.slice(0, limit).map(line));
  $("count").textContent = `${rows.length} of ${data.rows.length} answers`;
  $("head").textContent = $("metric").value;
  $("more").parentElement.hidden = rows.length <= limit;
  spread(rows);
}

for (const kind of KINDS) options(kind, data.rows.map((row) => row[kind]));
if (data.primary) $("metric").value = data.primary;
for (const id of ["metric", "order", "low", "high", ...KINDS, "search"]) {
  $(id).addEventListener("input", () => { limit = PAGE; draw(); });
}
$("more").onclick = () => { limit += PAGE; draw(); };
draw();
