"use strict";
// The run: columns and tables as encoding.py writes them, and what follows from them.

window.addEventListener("error", (event) => {
  document.documentElement.dataset.error = String(event.message);
});

const run = JSON.parse(document.getElementById("run").textContent);
const COUNT = run.w.length;
const END = run.end;

/** The word at this place; empty for 0. */
const word = (place) => (place ? run.words[place - 1] : "");
const item = (place) => {
  const [isRumour, id, incarnation, state, by] = run.items[place - 1];
  return { isRumour: Boolean(isRumour), id: word(id), incarnation, state, by: word(by) };
};

// Entries bear the numbers 1..COUNT; columns have a place 0 that stands for none.
const at = new Float64Array(COUNT + 1);
const cause = new Int32Array(COUNT + 1);
const lane = new Int16Array(COUNT + 1).fill(-1);
const peerLane = new Int16Array(COUNT + 1).fill(-1);
const firstChild = new Int32Array(COUNT + 1);
const nextChild = new Int32Array(COUNT + 1);

const lanes = run.lanes.map(word);
const laneOf = new Map(lanes.map((name, place) => [name, place]));
const laneOfWord = new Map(run.lanes.map((place, index) => [place, index]));

const what = (number) => run.w[number - 1];
const nodeOf = (number) => word(run.n[number - 1]);
const peerOf = (number) => word(run.p[number - 1]);

/** What an entry is about. What was received is told by what was sent. */
function detailOf(number) {
  const place = run.d[number - 1];
  if (place) return run.details[place - 1];
  const kind = what(number);
  return (kind === "r" || kind === "c") && cause[number] ? detailOf(cause[number]) : null;
}

/** An event in words of its own, or null where the entry is none. */
function eventOf(number) {
  const detail = number && what(number) === "e" ? detailOf(number) : null;
  if (!detail) return null;
  if (detail[0] === "E") {
    const about = item(detail[2]);
    return { kind: detail[1], id: about.id, incarnation: about.incarnation, state: about.state, epoch: detail[3], home: word(detail[4]), reason: word(detail[5]) };
  }
  if (detail[0] === "L") return { kind: "leader", leader: word(detail[1]), previous: word(detail[2]), epoch: detail[3] };
  if (detail[0] === "F") return { kind: "storage", reason: detail[1] };
  if (detail[0] === "C") return { kind: "contact", seconds: detail[1] };
  if (detail[0] === "U") return { kind: "path", what: detail[1], id: word(detail[2]) };
  if (detail[0] === "T") return { kind: "map", words: detail[1] };
  return { kind: "conflict", id: word(detail[1]), address: word(detail[2]) };
}

/** A message: its kind, whom it asks about, and what it tells. Null where the entry is none. */
function messageOf(number) {
  const detail = number ? detailOf(number) : null;
  if (!detail) return null;
  if (detail[0] === "D") return { kind: detail[1], sequence: detail[2], target: word(detail[3]), items: detail[4] };
  if (detail[0] === "Q") return { kind: detail[1], sequence: 0, target: word(detail[2]), items: detail[3], isCall: true };
  if (detail[0] === "A") return { kind: detail[1], sequence: 0, target: "", items: detail[2], isCall: true };
  return null;
}

/** Whether an entry is about "mail" or "maps"; empty for anything else. */
function subjectMatter(number) {
  const detail = detailOf(number);
  return detail && detail[0] === "T" ? detail[2] : "";
}

const STATES = ["alive", "suspect", "dead", "left"];
const MARK_KINDS = { suspected: "suspected", died: "died", recovered: "recovered", left: "left", joined: "joined", updated: "joined" };
const CLASSES = { ping: 0, ack: 0, nack: 1, ping_req: 1, gossip: 2 };

const laneEntries = lanes.map(() => []); // START, STOP, PAUSE, RESUME and events, by lane
const goods = lanes.map(() => []); // [number, "mail" or "maps", whether it came in] in order, by lane
const marks = lanes.map(() => []); // [number, kind] in order, by lane
const moments = []; // numbers of all that n and p go through
const before = new Map(); // a verdict's number -> the number of the verdict before it, by the same node of the same member
const flights = { from: [], to: [], kind: [], fate: [] }; // fate: 0 arrived, 1 dropped, 2 read by nobody

{
  let micros = 0;
  for (let number = 1; number <= COUNT; number++) {
    micros += run.t[number - 1];
    at[number] = micros / 1e6;
    const back = run.c[number - 1];
    cause[number] = back ? number - back : 0;
    const place = laneOfWord.get(run.n[number - 1]);
    if (place !== undefined) lane[number] = place;
    const peer = laneOfWord.get(run.p[number - 1]);
    if (peer !== undefined) peerLane[number] = peer;
  }
  for (let number = COUNT; number > 0; number--) {
    const parent = cause[number];
    if (parent) {
      nextChild[number] = firstChild[parent];
      firstChild[parent] = number;
    }
  }
  const verdicts = new Map();
  for (let number = 1; number <= COUNT; number++) {
    const kind = what(number);
    const own = lane[number];
    if (own >= 0 && "SXPRe".includes(kind)) laneEntries[own].push(number);
    const subject = own >= 0 && "abe".includes(kind) ? subjectMatter(number) : "";
    if (subject && !(kind === "b" && detailOf(number)[1].startsWith("0 "))) goods[own].push([number, subject, kind !== "a"]);
    if (own >= 0 && "SXPR".includes(kind)) {
      marks[own].push([number, "life"]);
      moments.push(number);
    } else if (kind === "e") {
      const event = eventOf(number);
      if (own >= 0 && MARK_KINDS[event.kind]) {
        marks[own].push([number, MARK_KINDS[event.kind]]);
        const key = `${own} ${event.id}`;
        if (verdicts.has(key)) before.set(number, verdicts.get(key));
        verdicts.set(key, number);
      }
      if (!["joined", "updated", "map"].includes(event.kind)) moments.push(number);
    } else if (kind === "V") {
      if (own >= 0) marks[own].push([number, "violation"]);
      moments.push(number);
    } else if (kind === "F" || kind === "H") {
      moments.push(number);
    }
  }
}

/** How far a message came: [what, number] of its arrival or its loss, or ["", 0]. */
function fateOf(number) {
  for (let child = firstChild[number]; child; child = nextChild[child]) {
    const kind = what(child);
    if (kind === "r" || kind === "c" || kind === "d") return [kind, child];
    if (kind === "y" && what(number) === "c") return [kind, child];
  }
  return ["", 0];
}

{
  for (let number = 1; number <= COUNT; number++) {
    const kind = what(number);
    if (kind !== "s" && kind !== "C" && kind !== "c") continue;
    const [fate, end] = fateOf(number);
    if (kind === "c" && fate !== "y") continue;
    const message = kind === "s" ? messageOf(number) : null;
    flights.from.push(number);
    flights.to.push(end);
    flights.kind.push(message ? CLASSES[message.kind] ?? 2 : ["", "mail", "maps"].indexOf(subjectMatter(number)) + 3);
    flights.fate.push(fate === "d" ? 1 : end ? 0 : 2);
  }
  flights.longest = 0;
  for (let index = 0; index < flights.from.length; index++) {
    if (flights.to[index]) flights.longest = Math.max(flights.longest, at[flights.to[index]] - at[flights.from[index]]);
  }
  flights.at = Float64Array.from(flights.from, (number) => at[number]);
}

/** The first place of a sorted list whose value is not less than `value`. */
function lowerBound(list, value, of = (each) => each) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(list[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What each node was and thought over time: {from, to, state, leader, epoch, number}. */
const bands = laneEntries.map((numbers) => {
  const found = [];
  let now = { from: 0, state: "down", leader: "", epoch: 0, number: 0 };
  const turn = (number, changes) => {
    const when = at[number];
    if (when > now.from) found.push({ ...now, to: when });
    now = { ...now, ...changes, from: when, number };
  };
  for (const number of numbers) {
    const kind = what(number);
    if (kind === "S") turn(number, { state: "up", leader: "", epoch: 0 });
    else if (kind === "X" && !isLeaving(number)) turn(number, { state: "down", leader: "", epoch: 0 });
    else if (kind === "P") turn(number, { state: "paused" });
    else if (kind === "R") turn(number, { state: "up" });
    else if (kind === "e") {
      const event = eventOf(number);
      if (event.kind === "leader") turn(number, { leader: event.leader, epoch: event.epoch });
    }
  }
  if (END > now.from) found.push({ ...now, to: END });
  return found;
});

/** Whether this STOP only says that the node begins to leave. */
function isLeaving(number) {
  return detailOf(number)?.[1] === "leaving";
}

/** The band of a lane at a time. */
function bandAt(place, when) {
  const own = bands[place];
  const index = lowerBound(own, when, (band) => band.to);
  return own[Math.min(index, own.length - 1)];
}

/** Leaders by how long they were thought to lead, the longest first. */
const leaders = (() => {
  const seconds = new Map();
  for (const own of bands) {
    for (const band of own) {
      if (band.leader) seconds.set(band.leader, (seconds.get(band.leader) ?? 0) + band.to - band.from);
    }
  }
  return [...seconds.keys()].sort((one, other) => seconds.get(other) - seconds.get(one));
})();

/** Faults of this kind (any, where empty) that are on at a time. */
function faultsAt(when, kind = "") {
  return run.faults.filter((fault) => fault.begin <= when && when <= fault.end && (!kind || fault.kind === kind));
}

/** Whether a fault cuts these two lanes from one another at a time. */
function cutBetween(one, other, when) {
  return faultsAt(when).find((fault) => {
    if (!fault.groups) return false;
    if (fault.period && (when - fault.begin) % fault.period >= fault.period / 2) return false;
    const sides = fault.groups.map((group) => [group.includes(lanes[one]), group.includes(lanes[other])]);
    return sides.some(([has]) => has) && sides.some(([, has]) => has) && !sides.some(([a, b]) => a && b);
  });
}

/** Whom a node listed right after this entry, and who it thought leads. Departed members say when and how they went. */
function viewAt(place, number) {
  const view = { members: new Map(), gone: new Map(), leader: "", epoch: 0, isUp: false };
  for (const each of laneEntries[place]) {
    if (each > number) break;
    const kind = what(each);
    if (kind === "S" || (kind === "X" && !isLeaving(each))) {
      view.members.clear();
      view.gone.clear();
      Object.assign(view, { leader: "", epoch: 0, isUp: kind === "S" });
    } else if (kind === "e") {
      const event = eventOf(each);
      if (event.kind === "leader") Object.assign(view, { leader: event.leader, epoch: event.epoch });
      else if (event.kind === "died" || event.kind === "left") {
        view.members.delete(event.id);
        view.gone.set(event.id, { ...event, number: each });
      } else if (!["conflict", "storage", "contact", "path", "map"].includes(event.kind)) {
        view.gone.delete(event.id);
        view.members.set(event.id, { ...event, number: each });
      }
    }
  }
  return view;
}

const baseIncarnation = run.items.reduce((least, each) => (typeof each[2] === "number" ? Math.min(least, each[2]) : least), Infinity);
/** An incarnation as people can tell it from another: beyond the least of the run. */
const incarnationText = (value) => (typeof value === "number" ? `+${(value - baseIncarnation).toLocaleString("en")}` : String(value));
