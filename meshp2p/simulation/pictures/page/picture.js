// The picture: where everything is, and what lies still. What moves through the lanes is in layers.js.

const canvas = document.getElementById("picture");
const pen = canvas.getContext("2d");
const AXIS_HEIGHT = 24;
const FAULT_ROW = 18;
const FAULT_ROWS_MAX = 10;
const LANE_LEAST = 22;
const LANE_MOST = 150;
const FONT = "system-ui, sans-serif";

// What is seen: virtual seconds from..to, and how far the lanes are scrolled. The margin lets the ends be seen.
const MARGIN = END * 0.012;
const whole = { from: -MARGIN, to: END + MARGIN };
const view = { from: whole.from, to: whole.to, scroll: 0 };
const shown = { messages: true, indirect: true, gossip: true, calls: true, mail: true, maps: true, drops: true, suspected: true, died: true, recovered: true, left: true, joined: false, life: true };
const choice = { number: 0, story: [] };
const size = { width: 0, height: 0, gutter: 90, top: AXIS_HEIGHT, lane: LANE_LEAST, rows: [] };
let colours = {};
let hits = []; // what can be pointed at: {x, y, width, height, number, text}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "panel", "ink", "soft", "faint", "stripe", "accent", "nobody", "down", "suspect", "dead", "recovered", "left",
    "joined", "life", "violation", "chain", "ping", "indirect", "gossip", "call", "mail", "maps", "drop", "side0", "side1", "side2", "side3", "trouble"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  colours.isDark = matchMedia("(prefers-color-scheme: dark)").matches;
}

const HUES = [215, 265, 175, 320, 95, 25, 245, 195, 295, 60];
/** A leader's colour: the most common have the hues that differ most. */
function leaderColour(id) {
  const rank = leaders.indexOf(id);
  if (rank < 0) return colours.nobody;
  const hue = rank < HUES.length ? HUES[rank] : (rank * 137.5) % 360;
  const round = Math.floor(rank / HUES.length);
  return colours.isDark ? `hsl(${hue} 55% ${58 - 10 * (round % 3)}%)` : `hsl(${hue} 52% ${50 - 10 * (round % 3)}%)`;
}

const xOf = (seconds) => size.gutter + ((seconds - view.from) / (view.to - view.from)) * (size.width - size.gutter);
const timeOf = (x) => view.from + ((x - size.gutter) / (size.width - size.gutter)) * (view.to - view.from);
const topOf = (place) => size.top + place * size.lane - view.scroll;
const axisOf = (place) => topOf(place) + size.lane * 0.64;
const bandHeight = () => Math.max(7, Math.min(18, size.lane * 0.24));
const lanesHeight = () => lanes.length * size.lane;
const scrollMost = () => Math.max(0, lanesHeight() - (size.height - size.top));
const pixelsPerSecond = () => (size.width - size.gutter) / (view.to - view.from);

/** Faults in rows, so that none covers another. */
function packFaults() {
  const ends = [];
  return run.faults.map((fault) => {
    let row = ends.findIndex((end) => end <= fault.begin - END * 0.004);
    if (row < 0) row = ends.length;
    ends[row] = Math.max(fault.end, fault.begin + END * Math.min(0.4, fault.label.length * 0.0047)) // about what its label takes;
    return row;
  });
}
const faultRows = packFaults();
const rowCount = faultRows.length ? Math.max(...faultRows) + 1 : 0;
const rowHeight = rowCount > FAULT_ROWS_MAX ? (FAULT_ROW * FAULT_ROWS_MAX) / rowCount : FAULT_ROW;

function measure() {
  const box = canvas.parentElement.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  size.width = Math.max(200, box.width);
  size.height = Math.max(120, box.height);
  canvas.width = Math.round(size.width * ratio);
  canvas.height = Math.round(size.height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = `600 12px ${FONT}`;
  let widest = 0;
  for (const name of lanes.slice(0, 400)) widest = Math.max(widest, pen.measureText(name).width);
  size.gutter = Math.round(Math.max(76, Math.min(190, widest + 26)));
  size.top = AXIS_HEIGHT + (rowCount ? rowCount * rowHeight + 8 : 4);
  size.lane = Math.max(LANE_LEAST, Math.min(LANE_MOST, (size.height - size.top - 8) / lanes.length));
  view.scroll = Math.max(0, Math.min(view.scroll, scrollMost()));
}

/** The text, cut so that it fits. */
function clipped(text, width) {
  if (width < 8) return "";
  if (pen.measureText(text).width <= width) return text;
  let low = 0;
  let high = Math.min(text.length, 300);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

function lanesInSight() {
  const first = Math.max(0, Math.floor(view.scroll / size.lane));
  return [first, Math.min(lanes.length, Math.ceil((view.scroll + size.height - size.top) / size.lane) + 1)];
}

let isAsked = false;
function draw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(drawNow);
}

function drawNow() {
  isAsked = false;
  hits = [];
  pen.clearRect(0, 0, size.width, size.height);
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, size.width, size.height);
  pen.save();
  pen.beginPath();
  pen.rect(size.gutter, size.top, size.width - size.gutter, size.height - size.top);
  pen.clip();
  drawStripes();
  drawShades();
  drawGrid();
  drawMessages();
  drawSides();
  drawBands();
  drawGoods();
  drawChain();
  drawMarks();
  drawChoice();
  pen.restore();
  drawAxis();
  drawFaultRows();
  drawGutter();
  drawMinimap();
}

function drawStripes() {
  const [first, last] = lanesInSight();
  for (let place = first; place < last; place++) {
    if (place % 2) {
      pen.fillStyle = colours.stripe;
      pen.fillRect(size.gutter, topOf(place), size.width, size.lane);
    }
  }
  pen.fillStyle = colours.down;
  const begin = xOf(0);
  const end = xOf(END);
  if (begin > size.gutter) pen.fillRect(size.gutter, size.top, begin - size.gutter, size.height);
  if (end < size.width) pen.fillRect(end, size.top, size.width - end, size.height);
}

function hatch(x, y, width, height, style, step = 7) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.strokeStyle = style;
  pen.lineWidth = 1;
  pen.beginPath();
  const start = Math.max(x, size.gutter) - height - ((Math.max(x, size.gutter) - x) % step);
  for (let each = start; each < Math.min(x + width, size.width); each += step) {
    pen.moveTo(each, y + height);
    pen.lineTo(each + height, y);
  }
  pen.stroke();
  pen.restore();
}

const SIDES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Which lanes a fault concerns: [place, side]; side -1 where it has none. */
function lanesOfFault(fault) {
  if (fault.groups) return fault.groups.flatMap((group, side) => group.filter((name) => laneOf.has(name)).map((name) => [laneOf.get(name), side]));
  return fault.nodes.filter((name) => laneOf.has(name)).map((name) => [laneOf.get(name), -1]);
}

function drawShades() {
  for (const fault of run.faults) {
    const from = Math.max(xOf(fault.begin), size.gutter);
    const to = Math.min(Math.max(xOf(fault.end), xOf(fault.begin) + 1), size.width);
    if (to <= size.gutter || from >= size.width) continue;
    if (!fault.groups && !fault.nodes.length) {
      pen.fillStyle = `rgba(${colours.trouble}, 0.025)`;
      pen.fillRect(from, size.top, to - from, size.height);
      continue;
    }
    for (const [place, side] of lanesOfFault(fault)) shadeLane(fault, place, side, from, to);
  }
}

function shadeLane(fault, place, side, from, to) {
  const y = topOf(place);
  if (y > size.height || y + size.lane < size.top) return;
  const tint = side < 0 ? colours.trouble : colours[`side${side % 4}`];
  const half = fault.period ? (fault.period / 2) * pixelsPerSecond() : 0;
  if (half > 1.5) {
    const skipped = Math.max(0, Math.floor((timeOf(from) - fault.begin) / fault.period));
    for (let x = xOf(fault.begin + skipped * fault.period); x < to; x += half * 2) {
      pen.fillStyle = `rgba(${tint}, ${side < 0 ? 0.09 : 0.17})`;
      pen.fillRect(Math.max(x, from), y, Math.min(x + half, to) - Math.max(x, from), size.lane);
    }
  } else {
    pen.fillStyle = `rgba(${tint}, ${side < 0 ? 0.09 : 0.17})`;
    pen.fillRect(from, y, to - from, size.lane);
  }
}

/** The names of sides, above what lies in the lanes. */
function drawSides() {
  for (const fault of run.faults) {
    if (!fault.groups) continue;
    const from = Math.max(xOf(fault.begin), size.gutter);
    const to = Math.min(xOf(fault.end), size.width);
    if (to - from < 26) continue;
    const named = lanesOfFault(fault).sort(([one], [other]) => one - other);
    named.forEach(([place, side], index) => {
      const isLikeAbove = index > 0 && named[index - 1][1] === side && named[index - 1][0] === place - 1;
      if (size.lane >= 60 || !isLikeAbove) nameSide(fault, place, side, from, to);
    });
  }
}

function nameSide(fault, place, side, from, to) {
  const y = topOf(place);
  if (y > size.height || y + size.lane < size.top) return;
  const name = fault.kind === "OneWay" ? (side ? "hears nothing of the mute" : "mute") : `side ${SIDES[side] ?? side + 1}`;
  pen.font = `700 ${size.lane < 34 ? 10 : 11}px ${FONT}`;
  pen.textBaseline = "top";
  pen.textAlign = "left";
  const width = pen.measureText(name).width;
  const taken = size.lane < 80 ? clusters(place).map(({ x }) => x) : []; // marks, and about what their labels take
  const isFree = (x) => x + width < to && !taken.some((mark) => mark > x - 70 && mark < x + width + 10);
  const x = [from + 5, to - width - 12, (from + to - width) / 2].find(isFree);
  if (x) written(name, x, y + (size.lane < 34 ? 1 : 4), `rgb(${colours[`side${side % 4}`]})`);
}

/** Text with a rim of paper, to be read on whatever lies under it. */
function written(text, x, y, colour) {
  pen.lineJoin = "round";
  pen.lineWidth = 3;
  pen.strokeStyle = colours.paper;
  pen.strokeText(text, x, y);
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
}

/** Steps of the axis: 1, 2 or 5 times a power of ten. */
function ticks() {
  const least = 90 / pixelsPerSecond();
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= least);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let index = Math.ceil(Math.max(view.from, 0) / step); index * step <= Math.min(view.to, END); index++) {
    found.push([index * step, digits]);
  }
  return found;
}

function drawGrid() {
  pen.strokeStyle = colours.faint;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [seconds] of ticks()) {
    const x = Math.round(xOf(seconds)) + 0.5;
    pen.moveTo(x, size.top);
    pen.lineTo(x, size.height);
  }
  pen.stroke();
}

function drawAxis() {
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, size.width, size.top);
  pen.fillStyle = colours.soft;
  pen.font = `11px ${FONT}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const [seconds, digits] of ticks()) {
    const x = xOf(seconds);
    if (x > size.gutter + 12 && x < size.width - 14) pen.fillText(`${seconds.toFixed(digits)} s`, x, AXIS_HEIGHT / 2);
  }
  pen.fillStyle = colours.faint;
  pen.fillRect(0, size.top - 1, size.width, 1);
}

function drawFaultRows() {
  pen.save();
  pen.beginPath();
  pen.rect(size.gutter, AXIS_HEIGHT - 2, size.width - size.gutter, size.top);
  pen.clip();
  run.faults.forEach((fault, index) => {
    const y = AXIS_HEIGHT + faultRows[index] * rowHeight;
    const from = xOf(fault.begin);
    const to = Math.max(xOf(fault.end), from + 3);
    if (to < size.gutter || from > size.width) return;
    pen.fillStyle = `rgba(${colours.trouble}, ${choice.number && choice.number === fault.n ? 0.5 : 0.2})`;
    pen.fillRect(from, y, to - from, rowHeight - 3);
    pen.fillStyle = `rgb(${colours.trouble})`;
    pen.fillRect(from, y, 2, rowHeight - 3);
    if (rowHeight > 11) {
      const left = Math.max(from, size.gutter) + 6;
      const next = run.faults.filter((other, place) => faultRows[place] === faultRows[index] && other.begin > fault.begin).map((other) => xOf(other.begin));
      const room = Math.min(size.width, ...next) - left - 8;
      pen.font = `500 11px ${FONT}`;
      pen.fillStyle = colours.ink;
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      pen.fillText(clipped(fault.label, room), left, y + (rowHeight - 3) / 2 + 0.5);
    }
    hits.push({ x: from, y, width: to - from, height: rowHeight - 3, number: fault.n, text: `${fault.label}\n${clock(fault.begin)} s to ${clock(fault.end)} s` });
  });
  pen.restore();
}

function drawGutter() {
  pen.fillStyle = colours.paper;
  pen.fillRect(0, AXIS_HEIGHT, size.gutter, size.height);
  pen.fillStyle = colours.soft;
  pen.font = `11px ${FONT}`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  if (rowCount) pen.fillText("faults", 10, AXIS_HEIGHT + Math.min(rowHeight, 18) / 2 - 1);
  pen.save();
  pen.beginPath();
  pen.rect(0, size.top, size.gutter, size.height);
  pen.clip();
  const [first, last] = lanesInSight();
  for (let place = first; place < last; place++) {
    pen.font = `600 12px ${FONT}`;
    pen.fillStyle = choice.number && lane[choice.number] === place ? colours.accent : colours.ink;
    pen.fillText(clipped(lanes[place], size.gutter - 20), 10, axisOf(place));
  }
  pen.restore();
  pen.fillStyle = colours.faint;
  pen.fillRect(size.gutter - 1, AXIS_HEIGHT, 1, size.height);
  pen.fillRect(0, size.top - 1, size.gutter, 1);
  if (scrollMost() > 0) {
    const room = size.height - size.top;
    pen.fillStyle = colours.nobody;
    pen.fillRect(size.width - 5, size.top + (view.scroll / lanesHeight()) * room, 4, (room / lanesHeight()) * room);
  }
}
