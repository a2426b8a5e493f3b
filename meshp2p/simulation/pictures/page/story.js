// Why: what led to an entry. The chain of causes is in the trace; a verdict that a node's clock made has its reasons in
// what did not arrive, which no cause points to, so that is looked up.

const STEPS_MAX = 60;
const LATE_SECONDS = 0.15; // a packet that took longer is told with what may have held it up
const HOLDING = ["Slow", "Stalls", "Delayed", "Pause", "Sleep", "Bursts", "Lossy"];
const LOOK_SECONDS = 30; // how long after its start a node may still be looking around
const ROUND_SECONDS = 15; // how far back a probe that had no answer is looked for

/** The whole chain, the last first: causes, and where a verdict stands in it, those of the verdict before. */
function chainOf(number) {
  const chain = new Set();
  const waiting = [number];
  while (waiting.length) {
    let current = waiting.pop();
    while (current && !chain.has(current)) {
      chain.add(current);
      if (before.has(current)) waiting.push(before.get(current));
      current = cause[current];
    }
  }
  return [...chain].sort((one, other) => other - one);
}

/** The last entry of a kind at a node before a number, no longer ago than so many seconds. */
function lastBefore(number, seconds, accept) {
  for (let each = number - 1; each > 0 && at[number] - at[each] <= seconds; each--) {
    if (accept(each)) return each;
  }
  return 0;
}

function about(number, id) {
  return Boolean(messageOf(number)?.items.some((place) => item(place).id === id));
}

class Story {
  constructor() {
    this.steps = []; // {number, text, tone, isAside}
    this.seen = new Set();
  }

  add(number, text, tone = "", isAside = false) {
    if (this.seen.has(number) && number) return false;
    this.seen.add(number);
    this.steps.push({ number, text, tone, isAside });
    return true;
  }

  /** The fault behind a packet that was lost or not read, and the process that was not there. */
  blame(number) {
    const [kind, end] = fateOf(number);
    if (kind === "d") {
      const name = detailOf(end)?.[1];
      for (const fault of faultsAt(at[end], name)) this.pending.add(fault.n);
    } else if (!kind && peerLane[number] >= 0) {
      const band = bandAt(peerLane[number], at[number]);
      if (band.state !== "up" && band.number) this.pending.add(band.number);
      const cut = lane[number] >= 0 && cutBetween(lane[number], peerLane[number], at[number]);
      if (cut) this.pending.add(cut.n);
    } else if (kind && at[end] - at[number] > LATE_SECONDS) {
      const ends = [nodeOf(number), peerOf(number)];
      for (const fault of faultsAt(at[number])) {
        const concerns = !fault.groups && (!fault.nodes.length || fault.nodes.some((name) => ends.includes(name)));
        if (HOLDING.includes(fault.kind) && concerns) this.pending.add(fault.n);
      }
    }
  }

  note(number, tone = "") {
    const [words, end] = fateWords(number);
    const isLost = !end || what(end) === "d";
    this.add(number, `${sentence(number)} — ${words}`, tone || (isLost ? "bad" : ""), true);
    this.blame(number);
  }

  /** The probe round behind a suspicion: what was sent to the member or for its sake, and what became of it. */
  probeRound(number, id) {
    const node = run.n[number - 1];
    const isOwn = (each) => run.n[each - 1] === node;
    // a ping that answers a request is another's probe
    const asks = (each) => isOwn(each) && "sC".includes(what(each)) && messageOf(each)?.target === id && what(cause[each]) !== "r";
    const ping = lastBefore(number, ROUND_SECONDS, (each) => asks(each) && what(each) === "s" && messageOf(each).kind === "ping");
    const first = ping || lastBefore(number, ROUND_SECONDS, asks);
    if (!first) return 0;
    for (let each = number - 1; each >= first; each--) {
      if (asks(each)) this.askedFor(each, id);
    }
    const heard = lastBefore(first, Infinity, (each) => isOwn(each) && "ry".includes(what(each)) && peerOf(each) === id);
    if (heard) this.add(heard, `the last that ${nodeOf(number)} had heard of ${id}, ${duration(at[number] - at[heard])} before`, "", true);
    return first;
  }

  /** One request of a round; a relay's own ping stands above it, as it came later. */
  askedFor(number, id) {
    const [kind, received] = fateOf(number);
    if (kind === "r" && messageOf(number).kind === "ping_req") {
      for (let child = firstChild[received]; child; child = nextChild[child]) {
        if (what(child) === "s" && messageOf(child)?.kind === "ping" && peerOf(child) === id) this.note(child);
      }
    } else if (kind === "r" && messageOf(number).kind === "ping") {
      for (let child = firstChild[received]; child; child = nextChild[child]) {
        if (what(child) === "s" && messageOf(child)?.kind === "ack") this.note(child);
      }
    }
    this.note(number);
  }

  /** A suspicion that ran out: who confirmed it meanwhile. Where to go on. */
  suspicion(number, id) {
    const start = before.get(number) ?? 0;
    if (!start || eventOf(start).kind !== "suspected") return cause[number];
    const node = run.n[number - 1];
    const others = new Set();
    for (let each = number - 1; each > start; each--) {
      if (run.n[each - 1] !== node || !"rcy".includes(what(each)) || !about(each, id)) continue;
      const claim = messageOf(each).items.map(item).find((known) => known.id === id && known.state === 1);
      if (claim && claim.by && claim.by !== lanes[lane[number]] && !others.has(claim.by)) {
        others.add(claim.by);
        this.add(each, `${claim.by} confirms the suspicion (heard from ${peerOf(each)})`, "doubt", true);
      }
    }
    return start;
  }

  /** A message told of a member: what its sender knew and why. Where to go on. */
  told(sending, id) {
    const sender = run.n[sending - 1];
    const name = nodeOf(sending);
    const claim = messageOf(sending)?.items.map(item).find((known) => known.id === id);
    if (!claim) return cause[sending];
    if (name === id) {
      const accused = lastBefore(sending, 120, (each) =>
        run.n[each - 1] === sender && "rcy".includes(what(each)) &&
        messageOf(each)?.items.some((place) => item(place).id === id && item(place).state > 0));
      if (accused && claim.state === 0) return accused;
      return this.lastOf(sending, (each) => run.n[each - 1] === sender && what(each) === "S");
    }
    const isVerdict = (each) => {
      const event = run.n[each - 1] === sender ? eventOf(each) : null;
      return Boolean(event) && event.id === id && event.state === claim.state;
    };
    for (let child = firstChild[cause[sending]]; child && cause[sending]; child = nextChild[child]) {
      if (isVerdict(child)) return child; // of the same moment, and told before it was noted
    }
    return this.lastOf(sending, isVerdict) || cause[sending];
  }

  lastOf(number, accept) {
    return lastBefore(number + 1, Infinity, accept);
  }

  /** Another event of the same moment that moved the leader. */
  behindLeader(number) {
    const event = eventOf(number);
    const node = run.n[number - 1];
    let found = 0;
    for (let each = number - 1; each > 0 && at[number] - at[each] < 1e-6; each--) {
      if (run.n[each - 1] !== node || what(each) !== "e" || cause[each] !== cause[number]) continue;
      const other = eventOf(each);
      if (other.id === event.leader || other.id === event.previous) return each;
      if (other.kind !== "leader") found = found || each;
    }
    return found;
  }

  /** One step back; 0 where the story ends. */
  step(number, state) {
    const event = eventOf(number);
    if (event) return this.stepFromEvent(number, event, state);
    const kind = what(number);
    if (kind === "t") {
      this.add(number, `${nodeOf(number)}'s clock: one of its regular timers`, "", true);
      return 0;
    }
    this.add(number, sentence(number, state.id), "");
    if (kind === "F" || kind === "H") return 0;
    if (kind === "V") {
      // a checker's words name the node that is meant where the entry does not
      const named = nodeOf(number) || lanes.find((name) => ` ${detailOf(number)?.[2]} `.includes(` ${name} `));
      return this.lastOf(number - 1, (each) => (!named || nodeOf(each) === named) && what(each) === "e");
    }
    if (kind === "d") {
      for (const fault of faultsAt(at[number], detailOf(number)?.[1])) this.pending.add(fault.n);
    }
    if (kind === "f") this.blame(cause[number]);
    if ((kind === "s" || kind === "C") && state.id && about(number, state.id)) return this.told(number, state.id);
    if (kind === "y" && cause[number] && what(cause[number]) === "c" && state.id && about(number, state.id)) return this.replied(number, state.id);
    return cause[number];
  }

  /** A reply told of a member: what the node that replied knew. */
  replied(number, id) {
    const call = cause[number];
    this.add(call, sentence(call, id), "");
    const replier = run.n[call - 1];
    return this.lastOf(call, (each) =>
      run.n[each - 1] === replier && ((what(each) === "e" && eventOf(each).id === id) || (what(each) === "S" && nodeOf(each) === id)));
  }

  stepFromEvent(number, event, state) {
    const tone = { suspected: "doubt key", died: "bad key", recovered: "fine key", leader: "key" }[event.kind] ?? "";
    const isOwnClock = what(cause[number]) === "t";
    if (event.kind !== "leader") state.id = event.id;
    if (event.kind === "died" && isOwnClock) {
      const start = before.get(number);
      const ran = start && eventOf(start).kind === "suspected" ? `: the suspicion ran out after ${duration(at[number] - at[start])}` : "";
      this.add(number, eventWords(nodeOf(number), event) + ran, tone);
      return this.suspicion(number, event.id);
    }
    if (event.kind === "suspected" && (isOwnClock || what(cause[number]) === "f")) {
      this.add(number, `${eventWords(nodeOf(number), event)}: its probe had no answer`, tone);
      const first = this.probeRound(number, event.id);
      return first ? 0 : cause[number];
    }
    this.add(number, eventWords(nodeOf(number), event), tone);
    if (event.kind === "leader") {
      const behind = this.behindLeader(number);
      if (behind) return behind;
      const start = this.lastOf(number, (each) => run.n[each - 1] === run.n[number - 1] && what(each) === "S");
      if (isOwnClock && !event.previous && start && at[number] - at[start] < LOOK_SECONDS) {
        this.add(cause[number], `it had looked around for ${duration(at[number] - at[start])} since its start`, "", true);
        return start;
      }
    }
    return cause[number];
  }
}

/** Why, as a list of steps, the last first: what a reader wants to know of the chain. */
function storyOf(number) {
  const story = new Story();
  story.pending = new Set();
  const state = { id: "" };
  let current = number;
  while (current && !story.seen.has(current) && story.steps.length < STEPS_MAX) current = story.step(current, state);
  for (const each of [...story.pending].sort((one, other) => other - one)) {
    let next = each;
    while (next && "FHXPS".includes(what(next)) && story.add(next, sentence(next), "key")) next = cause[next];
  }
  return story.steps.sort((one, other) => other.number - one.number);
}
