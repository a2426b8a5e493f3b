// What happened, in words.

const MESSAGE_WORDS = {
  ping: "ping", ack: "ack", nack: "nack", ping_req: "request to ping", gossip: "gossip",
  probe: "probe over TCP", sync: "sync request", push: "push (rest of a sync)", heartbeat: "heartbeat", deregister: "deregistration",
};

function clock(seconds, digits = 3) {
  return seconds.toFixed(digits);
}

function duration(seconds) {
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

/** What a message tells of members; `about` comes first, and in short only that. */
function tidings(message, about = "", most = 4) {
  if (!message || !message.items.length) return "";
  const claims = message.items.map(item);
  claims.sort((one, other) => (other.id === about) - (one.id === about) || other.state - one.state);
  const shown = claims.slice(0, most).map((claim) => {
    const by = claim.by ? ` (says ${claim.by})` : "";
    return `${claim.id} ${STATES[claim.state]}${by}`;
  });
  if (claims.length > most) shown.push(`${claims.length - most} more`);
  return shown.join(", ");
}

function messageWords(message) {
  if (!message) return "packet";
  const name = MESSAGE_WORDS[message.kind] ?? message.kind;
  return message.kind === "ping_req" ? `${name} ${message.target}`.trim() : name;
}

function eventWords(node, event) {
  switch (event.kind) {
    case "joined": return event.id === node ? `${node} takes its place in the mesh` : `${node} lists ${event.id}`;
    case "updated": return event.id === node ? `${node} publishes something new of itself` : `${node} learns something new of ${event.id}`;
    case "suspected": return `${node} suspects ${event.id}: ${event.reason}`;
    case "recovered": return `${node} sees that ${event.id} lives: it refuted the suspicion`;
    case "died": return `${node} declares ${event.id} dead: ${event.reason}`;
    case "left": return `${node} no longer lists ${event.id}: ${event.reason}`;
    case "storage": return event.reason ? `${node} keeps nothing on its disk: ${event.reason}` : `the disk of ${node} keeps what it is given again`;
    case "contact": return event.seconds ? `${node} has heard nobody for ${event.seconds} s` : `${node} hears others again`;
    case "map": return `${node} has ${event.words}`;
    case "path": return `${node} ${event.what === "PeerReachable" ? "reaches" : "has no path to or from"} ${event.id}`;
    case "conflict": return `${node} gives up its id: a process at ${event.address} has held it for longer`;
  }
  if (!event.leader) return `${node} knows no leader any more`;
  const epoch = event.epoch ? `, epoch ${event.epoch}` : "";
  if (event.leader === event.previous) return event.leader === node ? `${node} claims epoch ${event.epoch}` : `${node} learns the epoch of ${event.leader}${epoch}`;
  return event.leader === node ? `${node} thinks that it leads itself${epoch}` : `${node} thinks that ${event.leader} leads${epoch}`;
}

const faultOf = (number) => run.faults.find((fault) => fault.n === number || fault.heal === number);

const withArticle = (words) => `${"aeiou".includes(words[0]) ? "an" : "a"} ${words}`;

/** One line about an entry. `about` is the member of whom the reader wants to know. */
function sentence(number, about = "") {
  const node = nodeOf(number);
  const peer = peerOf(number);
  const detail = detailOf(number);
  const message = messageOf(number);
  const told = tidings(message, about);
  const telling = told ? `, telling: ${told}` : "";
  switch (what(number)) {
    case "S": return detail ? `${node} starts again, with the state on its disk` : `${node} starts`;
    case "X": return isLeaving(number) ? `${node} begins to leave` : `${node} ends${detail[1] === "silent" ? ", and its machine with it: silence" : detail[1] === "killed" ? ": the process is gone" : ""}`;
    case "P": return detail && detail[1] === "asleep" ? `${node}: the machine falls asleep` : `${node}: the process stands still`;
    case "R": return `${node} goes on`;
    case "F": return `fault begins: ${faultOf(number)?.label ?? ""}`;
    case "H": return `fault ends: ${faultOf(number)?.label ?? ""}`;
    case "s": return `${node} sends ${peer} ${message?.kind === "gossip" ? "gossip" : withArticle(messageWords(message))}${telling}`;
    case "r": return `${node} receives ${peer ? `${peer}'s` : "a"} ${messageWords(message)}${telling}`;
    case "d": return `lost on the way from ${peer}${node ? ` to ${node}` : ""}: ${detail ? detail[1] : ""}`;
    case "C": return `${node} calls ${peer}: ${messageWords(message)}${telling}`;
    case "c": return `${node} is called by ${peer}: ${messageWords(message)}${telling}`;
    case "y": return `${node} gets ${peer}'s reply${message && message.kind !== "reply" ? `: ${message.kind}` : ""}${telling}`;
    case "f": return `${node}'s ${cause[number] ? "call" : `watch connection to ${peer}`} fails: ${detail ? detail[2] : ""}`;
    case "t": return `${node}'s clock: a timer is due`;
    case "o": return `${node} is told that somebody may be at ${peer}${detail ? ` (${detail[1]})` : ""}`;
    case "a": return `an agent asks ${node}: ${detail ? detail[1] : ""}`;
    case "b": return `${node} answers an agent: ${detail ? detail[1] : ""}`;
    case "k": return `${node} writes to its disk: epoch ${detail ? detail[2] : ""}`;
    case "V": return `violation of ${detail ? `${detail[1]}: ${detail[2]}` : ""}`;
    case "e": return eventWords(node, eventOf(number));
  }
  return "";
}

/** A few words for the picture's labels. */
function subjectOf(number) {
  const event = eventOf(number);
  if (event) return event.id ?? event.leader ?? "";
  if (what(number) === "S") return "start";
  if (what(number) === "X") return isLeaving(number) ? "leaves" : "down";
  if (what(number) === "P") return "pause";
  if (what(number) === "R") return "resume";
  if (what(number) === "V") return detailOf(number)?.[1] ?? "";
  return "";
}

/** How it went on with a message until another entry, in words, and the entry that tells so (0 for none). */
function fateWords(number, until = Infinity) {
  const [kind, end] = fateOf(number);
  if (kind && end > until) return ["on its way", 0];
  for (let child = firstChild[number]; child && child < until; child = nextChild[child]) {
    if (what(child) === "f") return [detailOf(child)[2], child];
  }
  if (kind === "d") return [`lost: ${detailOf(end)?.[1] ?? ""}`, end];
  if (kind) return [`arrived after ${duration(at[end] - at[number])}`, end];
  const own = peerLane[number];
  if (own >= 0) {
    const state = bandAt(own, at[number]).state;
    if (state === "down") return [`nobody took it: ${lanes[own]} was down`, 0];
    if (state === "paused") return [`nobody read it: ${lanes[own]} stood still`, 0];
    const cut = lane[number] >= 0 ? cutBetween(lane[number], own, at[number]) : undefined;
    if (cut) return [`did not pass: ${cut.kind}`, 0];
  }
  return ["did not arrive", 0];
}

/** What was really so of a member while another had its opinion: [words, whether it ran]. */
function truthOf(id, observer, when) {
  const own = laneOf.get(id);
  if (own === undefined) return ["an agent", true];
  const state = bandAt(own, when).state;
  if (state !== "up") return [state === "paused" ? "standing still" : "down", false];
  const cut = observer >= 0 && observer !== own ? cutBetween(observer, own, when) : undefined;
  return [cut ? `up, cut off (${cut.kind})` : "up", true];
}
