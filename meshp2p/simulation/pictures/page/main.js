// The header, and the begin.

const CHIPS = [
  ["died", "death"], ["suspected", "suspicion"], ["recovered", "refuted"], ["left", "left, revoked"], ["life", "start, stop, pause"], ["joined", "joined, updated"],
  ["messages", "pings"], ["indirect", "indirect pings"], ["gossip", "gossip"], ["calls", "calls (TCP)"], ["mail", "messages"], ["maps", "maps"], ["drops", "lost"],
].filter(([kind]) => !["mail", "maps"].includes(kind) || goods.some((own) => own.some(([, subject]) => subject === kind)));
const LINE_CHIPS = { messages: "ping", indirect: "indirect", gossip: "gossip", calls: "call", mail: "mail", maps: "maps", drops: "drop" };

/** The sign of a kind, as the picture has it. */
function drawSign(sign, kind) {
  const ratio = window.devicePixelRatio || 1;
  sign.width = sign.height = 16 * ratio;
  const brush = sign.getContext("2d");
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (!(kind in LINE_CHIPS)) {
    drawMark(8, 8, kind, 0, 6, brush);
    return;
  }
  brush.strokeStyle = colours[LINE_CHIPS[kind]];
  brush.lineWidth = kind === "calls" ? 2.6 : 1.6;
  brush.beginPath();
  if (kind === "drops") {
    brush.moveTo(4, 4);
    brush.lineTo(12, 12);
    brush.moveTo(4, 12);
    brush.lineTo(12, 4);
  } else {
    brush.moveTo(2, 13);
    brush.lineTo(14, 3);
  }
  brush.stroke();
}

function fillKinds() {
  const kinds = byId("kinds");
  kinds.replaceChildren();
  for (const [kind, label] of CHIPS) {
    const chip = button("", () => {
      shown[kind] = !shown[kind];
      chip.setAttribute("aria-pressed", String(shown[kind]));
      draw();
    });
    chip.setAttribute("aria-pressed", String(shown[kind]));
    const sign = element("canvas");
    drawSign(sign, kind);
    chip.append(sign, label);
    kinds.append(chip);
  }
}

function fillLeaders() {
  const list = byId("leaders");
  list.replaceChildren(element("span", "The band of a node has the colour of who it thinks leads:"));
  for (const id of [...leaders.slice(0, 12), ""]) {
    const entry = element("span");
    const swatch = element("i");
    swatch.style.background = id ? leaderColour(id) : colours.nobody;
    entry.append(swatch, id || "nobody");
    list.append(entry);
  }
  if (leaders.length > 12) list.append(element("span", `and ${leaders.length - 12} more`));
}

function fillViolations() {
  const list = byId("violations");
  for (const violation of run.violations) {
    const line = element("li");
    line.append(button(`${violation.checker} · ${clock(violation.at)} s${violation.node ? ` · ${violation.node}` : ""} · ${violation.message}`, () => violation.n && select(violation.n)));
    list.append(line);
  }
  const verdict = byId("verdict");
  const toggle = (isOpen) => {
    list.hidden = !isOpen;
    verdict.setAttribute("aria-expanded", String(isOpen));
    resize();
    draw();
  };
  if (!run.violations.length) return;
  verdict.addEventListener("click", () => toggle(list.hidden));
  toggle(run.violations.length <= 3);
}

function listenToHeader() {
  byId("out").addEventListener("click", () => zoom(1 / 0.5));
  byId("in").addEventListener("click", () => zoom(0.5));
  byId("fit").addEventListener("click", showAll);
  byId("next").addEventListener("click", (event) => hop(1, event.shiftKey));
  byId("previous").addEventListener("click", (event) => hop(-1, event.shiftKey));
  byId("help").addEventListener("click", () => {
    byId("keys").hidden = !byId("keys").hidden;
    byId("help").setAttribute("aria-expanded", String(!byId("keys").hidden));
    resize();
    draw();
  });
  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(run.command);
      byId("copy").textContent = "copied";
    } catch {
      getSelection().selectAllChildren(byId("command"));
    }
  });
  byId("save").hidden = !run.file;
  byId("save").addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([run.file], { type: "application/json" }));
    link.download = run.file_name;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

function resize() {
  measure();
  measureMap();
}

function restyle() {
  readColours();
  fillKinds();
  fillLeaders();
  mapImage = null;
}

restyle();
fillViolations();
listenToHeader();
listenToCanvas();
listenToMap();
resize();
readFragment();
drawNow();
window.addEventListener("hashchange", readFragment);
new ResizeObserver(() => {
  resize(); // which wipes the canvas, after this frame's own drawing
  drawNow();
}).observe(canvas.parentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  restyle();
  draw();
});
document.documentElement.dataset.ready = "yes";
