// Mouse, touch, keys, buttons, and the address's fragment: #select=ENTRY&every=1&from=SECONDS&to=SECONDS

const SPAN_LEAST = 0.0005;
const byId = (id) => document.getElementById(id);

function setView(from, to) {
  const span = Math.max(SPAN_LEAST, Math.min(to - from, whole.to - whole.from));
  const middle = (from + to) / 2;
  view.from = Math.max(whole.from, Math.min(middle - span / 2, whole.to - span));
  view.to = view.from + span;
}

function zoom(factor, x = (size.gutter + size.width) / 2) {
  const centre = timeOf(Math.max(x, size.gutter));
  const from = centre - (centre - view.from) * factor;
  setView(from, from + (view.to - view.from) * factor);
  writeFragment();
  draw();
}

function pan(seconds, pixels = 0) {
  setView(view.from + seconds, view.to + seconds);
  view.scroll = Math.max(0, Math.min(view.scroll + pixels, scrollMost()));
  writeFragment();
  draw();
}

function showAll() {
  setView(whole.from, whole.to);
  writeFragment();
  draw();
}

let fragmentTimer = 0;
function writeFragment() {
  clearTimeout(fragmentTimer);
  fragmentTimer = setTimeout(() => {
    const parts = [];
    if (choice.number) parts.push(`select=${choice.number}`);
    if (view.to - view.from < (whole.to - whole.from) * 0.999) parts.push(`from=${view.from.toFixed(6)}`, `to=${view.to.toFixed(6)}`);
    try {
      history.replaceState(null, "", `#${parts.join("&")}`);
    } catch {
      // a browser may refuse it for files or when asked often; the picture does not need it
    }
  }, 250);
}

function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  const from = Number(given.get("from") ?? NaN);
  const to = Number(given.get("to") ?? NaN);
  const number = Number(given.get("select"));
  select(Number.isInteger(number) && number > 0 && number <= COUNT ? number : 0);
  if (given.has("every")) byId("every")?.click();
  if (from < to) setView(from, to);
}

/** What is under the pointer: {number, text}, or null. */
function pick(x, y) {
  if (y < size.top) return hits.find((hit) => hit.y < size.top && x >= hit.x && x <= hit.x + hit.width && y >= hit.y && y <= hit.y + hit.height) ?? null;
  if (x < size.gutter) return null;
  for (const hit of hits) {
    if (x >= hit.x && x <= hit.x + hit.width && y >= hit.y && y <= hit.y + hit.height && hit.y >= size.top - 20) return hit;
  }
  const place = Math.floor((y - size.top + view.scroll) / size.lane);
  if (place < 0 || place >= lanes.length) return null;
  const isOnBand = Math.abs(y - axisOf(place)) <= bandHeight() / 2 + 1;
  return (isOnBand ? null : pickMessage(x, y)) ?? pickBand(place, timeOf(x), isOnBand);
}

function pickMessage(x, y) {
  let best = null;
  let nearest = 5;
  for (const index of drawn) {
    const [x1, y1, x2, y2] = lineOf(index);
    const length = (x2 - x1) ** 2 + (y2 - y1) ** 2;
    const share = length ? Math.max(0, Math.min(1, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length)) : 0;
    const distance = Math.hypot(x - x1 - share * (x2 - x1), y - y1 - share * (y2 - y1));
    if (distance < nearest) {
      nearest = distance;
      best = flights.from[index];
    }
  }
  return best ? { number: best, text: `${clock(at[best], 4)} s  ${sentence(best)}\n${fateWords(best)[0]}` } : null;
}

/** A place in a lane: the last that happened there until then. */
function pickBand(place, when, isOnBand) {
  if (when < 0 || when > END) return null;
  const numbers = laneEntries[place];
  const index = lowerBound(numbers, when, (number) => at[number]) - 1;
  const band = bandAt(place, when);
  const state = band.state === "down" ? "is down" : `${band.state === "paused" ? "stands still; " : ""}thinks that ${band.leader || "nobody"} leads${band.epoch ? `, epoch ${band.epoch}` : ""}`;
  return { number: index >= 0 ? numbers[index] : 0, text: isOnBand ? `${lanes[place]} ${state}\n${clock(when)} s` : "" };
}

function showTip(event, hit) {
  const tip = byId("tip");
  tip.hidden = !hit || !hit.text;
  if (tip.hidden) return;
  tip.textContent = hit.text;
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left;
  const y = event.clientY - box.top;
  tip.style.left = `${Math.max(4, Math.min(x + 14, size.width - tip.offsetWidth - 6))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > size.height ? Math.max(2, y - tip.offsetHeight - 10) : y + 18}px`;
}

/** n and p: to the next moment worth a look; `isOwn` stays at the node. */
function hop(direction, isOwn) {
  const own = isOwn && choice.number ? run.n[choice.number - 1] : 0;
  const list = own ? moments.filter((number) => run.n[number - 1] === own) : moments;
  if (!list.length) return;
  const start = choice.number || (direction > 0 ? 0 : COUNT + 1);
  let index = lowerBound(list, start);
  if (direction < 0) index--;
  else if (list[index] === choice.number) index++;
  select(list[Math.max(0, Math.min(index, list.length - 1))]);
}

function listenToCanvas() {
  const pointers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    const box = canvas.getBoundingClientRect();
    if (!last) {
      showTip(event, pick(event.clientX - box.left, event.clientY - box.top));
      return;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId);
    moved += Math.abs(event.clientX - last[0]) + Math.abs(event.clientY - last[1]);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (others.length) {
      const [ox] = others[0][1];
      const was = Math.max(20, Math.abs(last[0] - ox));
      zoom(was / Math.max(20, Math.abs(event.clientX - ox)), (event.clientX + ox) / 2 - box.left);
    } else if (moved > 4) {
      canvas.classList.add("moving");
      byId("tip").hidden = true;
      pan(-(event.clientX - last[0]) / pixelsPerSecond(), -(event.clientY - last[1]));
    }
  });
  const release = (event) => {
    const wasDown = pointers.delete(event.pointerId);
    canvas.classList.remove("moving");
    if (event.type !== "pointerup" || !wasDown || moved > 4 || pointers.size) return;
    const box = canvas.getBoundingClientRect();
    const hit = pick(event.clientX - box.left, event.clientY - box.top);
    if (hit) select(hit.number);
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  canvas.addEventListener("dblclick", (event) => zoom(0.25, event.clientX - canvas.getBoundingClientRect().left));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const x = event.clientX - canvas.getBoundingClientRect().left;
    const unit = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
    if (x < size.gutter) pan(0, event.deltaY * unit);
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(((event.deltaX || event.deltaY) * unit) / pixelsPerSecond());
    else zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0018)))), x);
  }, { passive: false });
}

function listenToMap() {
  let grip = null;
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    const x = event.clientX;
    const edge = [["from", mapX(view.from)], ["to", mapX(view.to)]].find(([, place]) => Math.abs(place - x) < 7);
    if (edge) grip = { edge: edge[0] };
    else {
      if (x < mapX(view.from) || x > mapX(view.to)) pan(mapTime(x) - (view.from + view.to) / 2);
      grip = { last: x };
    }
  });
  map.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const when = Math.max(whole.from, Math.min(mapTime(event.clientX), whole.to));
    if (grip.edge === "from") setView(Math.min(when, view.to - SPAN_LEAST), view.to);
    else if (grip.edge === "to") setView(view.from, Math.max(when, view.from + SPAN_LEAST));
    else {
      pan(mapTime(event.clientX) - mapTime(grip.last));
      grip.last = event.clientX;
    }
    writeFragment();
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, () => { grip = null; });
}

const KEYS = {
  ArrowLeft: () => pan(-(view.to - view.from) * 0.15),
  ArrowRight: () => pan((view.to - view.from) * 0.15),
  ArrowUp: () => pan(0, -size.lane * 2),
  ArrowDown: () => pan(0, size.lane * 2),
  "+": () => zoom(0.6),
  "=": () => zoom(0.6),
  "-": () => zoom(1 / 0.6),
  0: showAll,
  n: () => hop(1, false),
  p: () => hop(-1, false),
  N: () => hop(1, true),
  P: () => hop(-1, true),
  Escape: () => select(0),
  "?": () => byId("help").click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  if (event.key.startsWith("Arrow") && panel.contains(document.activeElement)) return;
  event.preventDefault();
  KEYS[event.key]();
});
