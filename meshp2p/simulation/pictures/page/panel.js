// The side panel: a moment in words, why it came, and what the node saw then. Text is set, never parsed.

const panel = document.getElementById("panel");

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function button(text, action, className = "") {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function stepButton(number, text, tone, isAside) {
  const line = element("li", "", `${tone} ${isAside ? "aside" : ""}`.trim());
  const made = button("", () => select(number));
  made.dataset.number = number;
  made.setAttribute("aria-current", String(number === choice.number));
  made.append(element("span", `${clock(at[number])}`, "time"), element("span", text, "what"));
  line.append(made);
  return line;
}

function whyList(steps) {
  const list = element("ol", "", "why");
  for (const step of steps) list.append(stepButton(step.number, step.text, step.tone, step.isAside));
  return list;
}

function showWhy(number) {
  panel.append(element("h3", "Why · the latest first"));
  const list = whyList(choice.story);
  list.id = "why";
  panel.append(list);
  const chain = chainOf(number);
  if (chain.length < 2) return;
  const more = button(`every step of the chain (${chain.length})`, () => {
    const all = whyList(chain.slice(0, 500).map((each) => ({ number: each, text: sentence(each), tone: "", isAside: what(each) === "t" })));
    all.id = "chain";
    more.replaceWith(element("h3", `Every step · the latest first${chain.length > 500 ? " · the last 500" : ""}`), all);
  }, "more");
  more.id = "every";
  panel.append(more);
}

/** What a message tells, in full. */
function showMessage(number) {
  const message = messageOf(number);
  if (!message) return;
  panel.append(element("h3", "Message"));
  const sequence = message.sequence ? `, sequence ${message.sequence}` : "";
  const target = message.target ? `, target ${message.target}` : "";
  panel.append(element("p", `${MESSAGE_WORDS[message.kind] ?? message.kind}${target}${sequence}`));
  if (message.items.length) panel.append(element("p", `tells: ${tidings(message, "", 40)}`));
  if ("sC".includes(what(number))) {
    const [words, end] = fateWords(number);
    const line = element("p", "", !end || what(end) === "d" ? "wrong" : "");
    line.append(end ? button(words, () => select(end)) : words);
    panel.append(line);
  }
}

function showFault(number) {
  const fault = faultOf(number);
  if (!fault) return;
  panel.append(element("h3", "Fault"));
  panel.append(element("p", fault.label));
  panel.append(element("p", `${clock(fault.begin)} s to ${clock(fault.end)} s`, "when"));
  if (fault.groups) {
    fault.groups.forEach((group, side) => {
      const name = fault.kind === "OneWay" ? (side ? "to" : "from") : SIDES[side] ?? side + 1;
      panel.append(element("p", `${name}: ${group.join(", ")}`));
    });
  }
  const lost = new Map();
  for (let each = 1; each <= COUNT; each++) {
    if (what(each) === "d" && at[each] >= fault.begin && at[each] <= fault.end && detailOf(each)?.[1] === fault.kind) {
      lost.set(peerOf(each), (lost.get(peerOf(each)) ?? 0) + 1);
    }
  }
  if (lost.size) {
    const total = [...lost.values()].reduce((sum, count) => sum + count, 0);
    panel.append(element("p", `dropped ${total} packet${total === 1 ? "" : "s"}: ${[...lost].sort((one, other) => other[1] - one[1]).slice(0, 12).map(([name, count]) => `${count} of ${name}`).join(", ")}`));
  }
  const jump = element("p");
  jump.append(button("its begin", () => select(fault.n)), " ", ...(fault.heal ? [button("its end", () => select(fault.heal))] : []));
  panel.append(jump);
}

function showView(number) {
  const place = lane[number];
  if (place < 0) return;
  const seen = viewAt(place, number);
  const band = bandAt(place, at[number]);
  panel.append(element("h3", `What ${lanes[place]} sees right after`));
  if (!seen.isUp) {
    panel.append(element("p", "It does not run."));
    return;
  }
  if (band.state === "paused") panel.append(element("p", "It stands still."));
  const leader = element("p");
  leader.id = "leader";
  leader.append("Leader: ", element("b", seen.leader || "nobody"), seen.leader ? `, epoch ${seen.epoch || "not yet known"}` : "");
  panel.append(leader);
  const table = element("table");
  table.id = "view";
  const head = element("tr");
  for (const name of ["member", "seen as", "incarnation", "really"]) head.append(element("th", name));
  table.append(head);
  const rows = [...seen.members.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  const gone = [...seen.gone.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  for (const member of [...rows, ...gone]) table.append(viewRow(member, place, number));
  panel.append(table);
  panel.append(element("p", `Incarnations are counted from the least of the run, ${baseIncarnation.toLocaleString("en")}.`, "when"));
}

function viewRow(member, place, number) {
  const row = element("tr");
  const isGone = member.state >= 2;
  const [truth, isUp] = truthOf(member.id, place, at[number]);
  const name = element("td", "", isGone ? "gone" : "");
  name.append(button(member.id === lanes[place] ? `${member.id} (itself)` : member.home && member.home !== member.id ? `${member.id} at ${member.home}` : member.id, () => select(member.number)));
  const isWrong = (isGone && isUp && truth !== "an agent") || (member.state === 0 && truth === "down");
  const count = element("td", incarnationText(member.incarnation), "number");
  count.title = String(member.incarnation);
  row.append(name, element("td", STATES[member.state], `state-${STATES[member.state]}`), count, element("td", truth, isWrong ? "wrong" : ""));
  return row;
}

function heading(number) {
  const isRoutine = what(number) === "t";
  const title = element("h2", isRoutine ? `${nodeOf(number)}, its clock` : sentence(number).replace(/, telling:.*$/s, ""));
  const close = button("✕", () => select(0), "close");
  close.title = "close (Esc)";
  close.setAttribute("aria-label", "close");
  panel.append(close, title, element("p", `${clock(at[number], 6)} s · entry ${number.toLocaleString("en")}`, "when"));
}

/** Fill the panel for an entry; hide it for 0. */
function fillPanel(number) {
  panel.replaceChildren();
  panel.hidden = !number;
  document.documentElement.dataset.selected = number;
  if (!number) return;
  heading(number);
  if (what(number) === "F" || what(number) === "H") showFault(number);
  else showWhy(number);
  showMessage(number);
  showView(number);
  panel.scrollTop = 0;
}

/** Choose an entry: 0 for none. What is out of sight is brought into it. */
function select(number) {
  choice.number = number;
  choice.story = number ? storyOf(number) : [];
  const wasHidden = panel.hidden;
  fillPanel(number);
  if (wasHidden !== panel.hidden) resize();
  if (number) reveal(number);
  writeFragment();
  draw();
}

/** Move the view, as little as needed, so that an entry is in sight. */
function reveal(number) {
  const span = view.to - view.from;
  if (at[number] < view.from + span * 0.03 || at[number] > view.to - span * 0.03) {
    setView(at[number] - span / 2, at[number] + span / 2);
  }
  const place = lane[number];
  if (place >= 0) {
    if (topOf(place) < size.top) view.scroll = place * size.lane;
    else if (topOf(place) + size.lane > size.height) view.scroll = (place + 1) * size.lane - (size.height - size.top);
    view.scroll = Math.max(0, Math.min(view.scroll, scrollMost()));
  }
}
