// What moves through the lanes: messages, bands of leaders, marks, the chain of causes; and the minimap.

const LINES_MAX = 5000; // lines that are drawn one by one; beyond, only how many there are is shown
const FAR = 0.4; // messages for each pixel of width, beyond which they are drawn as traffic
const CLASS_COLOURS = ["ping", "indirect", "gossip", "call", "mail", "maps"];
const CLASS_SHOWN = ["messages", "indirect", "gossip", "calls", "mail", "maps"];
const SEVERITY = ["violation", "died", "suspected", "recovered", "life", "left", "joined"];
const MARK_COLOURS = { violation: "violation", died: "dead", suspected: "suspect", recovered: "recovered", left: "left", joined: "joined", life: "life" };
const GLYPHS = { violation: "!", died: "†", suspected: "?", recovered: "✓", left: "←", joined: "+" };
const CLUSTER = 15; // marks of a lane that are nearer than so many pixels are drawn as one

let isFar = false; // so far away that a lost message is drawn as a short stub below its sender's band
let drawn = []; // places in `flights` of the lines that can be pointed at

function drawMessages() {
  const first = lowerBound(flights.at, view.from - flights.longest);
  const last = lowerBound(flights.at, view.to);
  const room = size.width - size.gutter;
  const density = (last - first) / room;
  drawn = [];
  const isCrowded = last - first > LINES_MAX || density > FAR;
  isFar = density > FAR;
    const alpha = Math.max(0.14, Math.min(0.8, 0.16 / Math.max(density, 0.001)));
  let drops = 0;
  for (let index = first; index < last; index++) drops += flights.fate[index] ? 1 : 0;
  const showsDrops = shown.drops && drops < LINES_MAX && drops / room < 0.3;
  if (isCrowded) drawTraffic(first, last, showsDrops);
  for (const fate of [0, 2, 1]) {
    for (let kind = 0; kind < 6; kind++) {
      if (!shown[CLASS_SHOWN[kind]] || (fate ? !showsDrops : isCrowded)) continue;
      pen.globalAlpha = fate === 0 ? alpha : Math.max(alpha, 0.28);
      pen.strokeStyle = fate === 1 ? colours.drop : colours[CLASS_COLOURS[kind]];
      pen.lineWidth = kind > 2 ? 1.8 : 1;
      pen.setLineDash(fate === 2 ? [3, 3] : []);
      pen.beginPath();
      for (let index = first; index < last; index++) {
        if (flights.kind[index] === kind && flights.fate[index] === fate) traceFlight(index, fate);
      }
      pen.stroke();
    }
  }
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  drawEnds(showsDrops, density < 0.12);
}

/** Where a message begins and ends on the picture, or null. */
function lineOf(index) {
  const from = flights.from[index];
  const end = flights.to[index];
  const one = lane[from];
  const other = flights.fate[index] === 1 || !end ? peerLane[from] : lane[end];
  if (one < 0) return null;
  const x1 = xOf(at[from]);
  const y1 = axisOf(one);
  if (flights.fate[index] && isFar) return [x1, y1, x1, y1 + bandHeight() / 2 + Math.min(12, size.lane * 0.16)];
  if (other < 0) return [x1, y1, x1, y1 - size.lane * 0.5];
  const y2 = axisOf(other);
  if (flights.fate[index] === 0) return [x1, y1, xOf(at[end]), y2];
  const share = flights.fate[index] === 1 ? 0.72 : 0.93;
  const x2 = x1 + Math.min(14, 0.0004 * pixelsPerSecond());
  return [x1, y1, x1 + (x2 - x1) * share, y1 + (y2 - y1) * share];
}

function traceFlight(index) {
  const line = lineOf(index);
  if (!line) return;
  const [x1, y1, x2, y2] = line;
  if (x2 < size.gutter || x1 > size.width || Math.max(y1, y2) < size.top || Math.min(y1, y2) > size.height) return;
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  drawn.push(index);
}

/** Crosses where messages were lost; small arrows where they arrived, when there is room. */
function drawEnds(hasCrosses, hasArrows) {
  for (const index of drawn) {
    const line = lineOf(index);
    const [x1, y1, x2, y2] = line;
    if (flights.fate[index]) {
      if (!hasCrosses) continue;
      pen.strokeStyle = colours.drop;
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.moveTo(x2 - 3.5, y2 - 3.5);
      pen.lineTo(x2 + 3.5, y2 + 3.5);
      pen.moveTo(x2 - 3.5, y2 + 3.5);
      pen.lineTo(x2 + 3.5, y2 - 3.5);
      pen.stroke();
    } else if (hasArrows) {
      const angle = Math.atan2(y2 - y1, x2 - x1);
      const y = y2 - Math.sign(y2 - y1) * bandHeight() * 0.5;
      const x = x2 - ((y2 - y) / (y2 - y1 || 1)) * (x2 - x1);
      pen.fillStyle = colours[CLASS_COLOURS[flights.kind[index]]];
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x - 8 * Math.cos(angle - 0.4), y - 8 * Math.sin(angle - 0.4));
      pen.lineTo(x - 8 * Math.cos(angle + 0.4), y - 8 * Math.sin(angle + 0.4));
      pen.fill();
    }
  }
}

/** From afar: how much each node sent in each few pixels, and in red what of it was lost. */
function drawTraffic(first, last, hasCrosses) {
  const cell = 4;
  const columns = Math.ceil((size.width - size.gutter) / cell) + 1;
  const sent = lanes.map(() => new Uint32Array(columns));
  const lost = lanes.map(() => new Uint32Array(columns));
  let filled = 0;
  for (let index = first; index < last; index++) {
    const own = lane[flights.from[index]];
    const column = Math.floor((xOf(flights.at[index]) - size.gutter) / cell);
    if (own < 0 || column < 0 || column >= columns || !shown[CLASS_SHOWN[flights.kind[index]]]) continue;
    if (++sent[own][column] === 1) filled++;
    if (flights.fate[index]) lost[own][column]++;
  }
  const most = Math.max(4, (4 * (last - first)) / Math.max(1, filled)); // bursts are cut off
  const height = 0.8 * (size.lane - (axisOf(0) - topOf(0)) - bandHeight() / 2 - 2);
  const [top, bottom] = lanesInSight();
  for (let place = top; place < bottom; place++) {
    const y = axisOf(place) + bandHeight() / 2 + 1;
    for (let column = 0; column < columns; column++) {
      const count = sent[place][column];
      if (!count) continue;
      const x = size.gutter + column * cell;
      const tall = Math.max(1, height * Math.min(1, Math.sqrt(count / most)));
      pen.globalAlpha = 0.42;
      pen.fillStyle = colours.ping;
      pen.fillRect(x, y, cell - 1, tall);
      if (lost[place][column] && shown.drops && !hasCrosses) {
        pen.globalAlpha = 0.95;
        pen.fillStyle = colours.drop;
        pen.fillRect(x, y, cell - 1, Math.max(2, (tall * lost[place][column]) / count));
      }
    }
  }
  pen.globalAlpha = 1;
}

function drawBands() {
  const [first, last] = lanesInSight();
  const height = bandHeight();
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  for (let place = first; place < last; place++) {
    const y = axisOf(place) - height / 2;
    for (const band of bands[place]) {
      const from = Math.max(xOf(band.from), size.gutter - 4);
      const to = Math.min(xOf(band.to), size.width + 4);
      if (to < size.gutter || from > size.width) continue;
      const width = Math.max(to - from, 1);
      if (band.state === "down") {
        pen.fillStyle = colours.faint;
        pen.fillRect(from, axisOf(place) - 0.5, width, 1);
      } else {
        pen.fillStyle = band.leader ? leaderColour(band.leader) : colours.nobody;
        pen.fillRect(from, y, width, height);
        if (band.state === "paused") {
          pen.fillStyle = colours.paper;
          pen.globalAlpha = 0.72;
          pen.fillRect(from, y, width, height);
          pen.globalAlpha = 1;
          hatch(from, y, width, height, colours.ink, 6);
        }
        if (width > 34 && height >= 10) {
          pen.font = `600 ${height >= 13 ? 11 : 9.5}px ${FONT}`;
          pen.fillStyle = band.leader && band.state !== "paused" ? "#fff" : colours.ink;
          if (colours.isDark && band.state !== "paused") pen.fillStyle = "#0c1016";
          const epoch = band.epoch ? (width > 130 ? ` · epoch ${band.epoch}` : ` · ${band.epoch}`) : "";
          const words = band.leader ? `${band.leader}${epoch}` : "nobody";
          const text = clipped(band.state === "paused" ? "" : words, width - 8);
          pen.fillText(text.length > 1 ? text : "", Math.max(from, size.gutter) + 4, axisOf(place) + 0.5);
        }
      }
    }
  }
}

/** What agents sent and wrote (pointing up, out of the lane), and what they read and their maps got (pointing down). */
function drawGoods() {
  const [first, last] = lanesInSight();
  const radius = size.lane < 34 ? 2.5 : 4;
  for (let place = first; place < last; place++) {
    const list = goods[place];
    const most = lowerBound(list, view.to, ([number]) => at[number]);
    const taken = {};
    for (let index = lowerBound(list, view.from, ([number]) => at[number]); index < most; index++) {
      const [number, subject, isIn] = list[index];
      const x = xOf(at[number]);
      if (!shown[subject] || x - (taken[subject + isIn] ?? -9) < radius) continue;
      taken[subject + isIn] = x;
      const y = axisOf(place) + bandHeight() / 2 + radius + (subject === "maps" ? 2 * radius + 1 : 0);
      pen.fillStyle = colours[subject];
      pen.beginPath();
      pen.moveTo(x - radius, y + (isIn ? -radius : radius));
      pen.lineTo(x + radius, y + (isIn ? -radius : radius));
      pen.lineTo(x, y + (isIn ? radius : -radius));
      pen.fill();
      hits.push({ x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, number, text: `${clock(at[number])} s  ${sentence(number)}` });
    }
  }
}

/** Marks of a lane in sight, those that lie close together as one: {x, kind, numbers}. */
function clusters(place) {
  const found = [];
  const list = marks[place];
  const most = lowerBound(list, view.to, ([number]) => at[number]);
  for (let index = lowerBound(list, view.from, ([number]) => at[number]); index < most; index++) {
    const [number, kind] = list[index];
    if (kind !== "violation" && !shown[kind]) continue;
    const x = xOf(at[number]);
    const last = found[found.length - 1];
    if (last && x - last.x < CLUSTER) {
      last.numbers.push(number);
      const isGraver = SEVERITY.indexOf(kind) < SEVERITY.indexOf(last.kind) || (kind === "life" && last.kind === "life" && what(number) === "X");
      if (isGraver) Object.assign(last, { kind, number });
    } else {
      found.push({ x, kind, number, numbers: [number] });
    }
  }
  return found;
}

/** What befell a process, where several marks are one. */
function lifeWords(numbers) {
  const kinds = numbers.map(what).filter((kind) => "SXPR".includes(kind)).join("");
  if (/X.*S$/.test(kinds)) return "restart";
  if (/P.*R$/.test(kinds)) return "pause";
  return subjectOf(numbers.findLast((number) => "SXPR".includes(what(number))));
}

function drawMarks() {
  const [first, last] = lanesInSight();
  const isSmall = size.lane < 34;
  for (let place = first; place < last; place++) {
    const found = clusters(place);
    const y = isSmall ? axisOf(place) : axisOf(place) - bandHeight() / 2 - 10;
    found.forEach((cluster, index) => {
      drawMark(cluster.x, y, cluster.kind, cluster.number, isSmall ? 6.5 : 7.5);
      const names = new Set(cluster.numbers.filter((number) => number === cluster.number || cluster.kind !== "life").map(subjectOf));
      names.delete("");
      const subject = cluster.kind === "life" ? lifeWords(cluster.numbers) : subjectOf(cluster.number);
      const label = names.size > 1 ? `${subject} +${names.size - 1}` : subject;
      const room = (index + 1 < found.length ? found[index + 1].x : size.width) - cluster.x - 22;
      if (!isSmall && label) {
        pen.font = `500 10.5px ${FONT}`;
        pen.textAlign = "left";
        pen.textBaseline = "middle";
        const text = pen.measureText(label).width <= room || room > 60 ? clipped(label, room) : "";
        if (text) written(text, cluster.x + 10, y + 0.5, colours[MARK_COLOURS[cluster.kind]]);
      }
      const lines = cluster.numbers.slice(0, 8).map((number) => `${clock(at[number])} s  ${sentence(number)}`);
      if (cluster.numbers.length > 8) lines.push(`and ${cluster.numbers.length - 8} more: zoom in`);
      hits.push({ x: cluster.x - 8, y: y - 8, width: 16, height: 16, number: cluster.number, text: lines.join("\n") });
    });
  }
}

/** One mark; also used for the legend. */
function drawMark(x, y, kind, number, radius, target = pen) {
  const colour = colours[MARK_COLOURS[kind]];
  target.fillStyle = colour;
  target.strokeStyle = colours.paper;
  target.lineWidth = 1.5;
  target.beginPath();
  if (kind === "life") {
    const sort = number ? what(number) : "S";
    if (sort === "X") target.rect(x - radius * 0.75, y - radius * 0.75, radius * 1.5, radius * 1.5);
    else if (sort === "P") {
      target.rect(x - radius * 0.7, y - radius * 0.8, radius * 0.5, radius * 1.6);
      target.rect(x + radius * 0.2, y - radius * 0.8, radius * 0.5, radius * 1.6);
    } else {
      target.moveTo(x - radius * 0.7, y - radius * 0.9);
      target.lineTo(x + radius, y);
      target.lineTo(x - radius * 0.7, y + radius * 0.9);
      target.closePath();
    }
    target.stroke();
    target.fill();
    return;
  }
  if (kind === "died") target.rect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
  else if (kind === "violation") {
    target.moveTo(x, y - radius * 1.3);
    target.lineTo(x + radius * 1.25, y + radius);
    target.lineTo(x - radius * 1.25, y + radius);
    target.closePath();
  } else target.arc(x, y, radius, 0, Math.PI * 2);
  target.stroke();
  target.fill();
  target.fillStyle = colours.isDark ? "#0c1016" : "#fff";
  target.font = `700 ${Math.round(radius * 1.5)}px ${FONT}`;
  target.textAlign = "center";
  target.textBaseline = "middle";
  target.fillText(GLYPHS[kind], x, y + 0.5);
}

/** The way along which it came: the messages of the story, and the lanes along which nodes waited. */
function drawChain() {
  if (choice.story.length < 2) return;
  pen.strokeStyle = colours.chain;
  pen.fillStyle = colours.chain;
  pen.lineWidth = 2.4;
  pen.beginPath();
  let after = 0;
  for (const { number, isAside } of choice.story) {
    if (lane[number] < 0) continue;
    const index = lowerBound(flights.from, number);
    const line = flights.from[index] === number ? lineOf(index) : null;
    if (line) {
      pen.moveTo(line[0], line[1]);
      pen.lineTo(line[2], line[3]);
    }
    if (isAside) continue;
    if (after && lane[after] === lane[number]) {
      pen.moveTo(xOf(at[number]), axisOf(lane[number]) - bandHeight() / 2 - 1.5);
      pen.lineTo(xOf(at[after]), axisOf(lane[number]) - bandHeight() / 2 - 1.5);
    }
    after = number;
  }
  pen.stroke();
  for (const { number } of choice.story) {
    const x = xOf(at[number]);
    if (lane[number] < 0 || x < size.gutter - 5 || x > size.width + 5) continue;
    pen.beginPath();
    pen.arc(x, axisOf(lane[number]), 3.5, 0, Math.PI * 2);
    pen.fill();
    pen.lineWidth = 1.5;
    pen.strokeStyle = colours.paper;
    pen.stroke();
  }
}

function drawChoice() {
  const number = choice.number;
  if (!number) return;
  const x = xOf(at[number]);
  pen.strokeStyle = colours.accent;
  pen.lineWidth = 1;
  pen.setLineDash([4, 3]);
  pen.beginPath();
  pen.moveTo(x, size.top);
  pen.lineTo(x, size.height);
  pen.stroke();
  pen.setLineDash([]);
  if (lane[number] < 0) return;
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.arc(x, axisOf(lane[number]), 8, 0, Math.PI * 2);
  pen.stroke();
}
