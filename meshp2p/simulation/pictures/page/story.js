// Why: what led to an entry. The chain of causes is in the trace. reasons.py found what led to a suspicion or a death, by
// what the event says.

const STEPS_MAX = 120;
const LOOK_SECONDS = 30; // how long after its start a node may still be looking around

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
  constructor(number) {
    this.number = number; // nothing later explains it
    this.steps = []; // {number, text, tone, isAside}
    this.seen = new Set();
  }

  add(number, text, tone = "", isAside = false) {
    if (number > this.number || (this.seen.has(number) && number)) return false;
    this.seen.add(number);
    this.steps.push({ number, text, tone, isAside });
    return true;
  }

  /** The entries behind a suspicion or a death. Where to go on. */
  verdict(number) {
    const [then, ...steps] = run.reasons[number];
    for (const each of steps) {
      const kind = what(each);
      if ("rd".includes(kind) && steps.includes(cause[each])) continue; // the message says what became of it
      if ("sC".includes(kind)) {
        const [words, end] = fateWords(each, number);
        this.add(each, `${sentence(each, eventOf(number).id)} — ${words}`, end && !"df".includes(what(end)) ? "" : "bad", true);
      } else if (kind === "t") this.add(each, `${nodeOf(each)}'s clock: a timer ended`, "", true);
      else this.add(each, sentence(each, eventOf(number).id), "FHXPS".includes(kind) ? "key" : "", !"FHXPS".includes(kind));
    }
    return then;
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
    if (event.kind !== "leader") state.id = event.id;
    this.add(number, eventWords(nodeOf(number), event), tone);
    if (run.reasons[number]) return this.verdict(number);
    if (event.kind === "leader") {
      const behind = this.behindLeader(number);
      if (behind) return behind;
      const start = this.lastOf(number, (each) => run.n[each - 1] === run.n[number - 1] && what(each) === "S");
      if (what(cause[number]) === "t" && !event.previous && start && at[number] - at[start] < LOOK_SECONDS) {
        this.add(cause[number], `it had looked around for ${duration(at[number] - at[start])} since its start`, "", true);
        return start;
      }
    }
    return cause[number];
  }
}

/** Why, as a list of steps, the last first: what a reader wants to know of the chain. */
function storyOf(number) {
  const story = new Story(number);
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
