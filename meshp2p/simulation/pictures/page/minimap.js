// The whole run in a strip: faults, verdicts, losses, and the window that the picture shows.

const map = document.getElementById("minimap");
const mapPen = map.getContext("2d");
const mapX = (seconds) => size.gutter + ((seconds - whole.from) / (whole.to - whole.from)) * (map.clientWidth - size.gutter);
const mapTime = (x) => whole.from + ((x - size.gutter) / (map.clientWidth - size.gutter)) * (whole.to - whole.from);

let mapImage = null; // what does not change with the view

function measureMap() {
  const ratio = window.devicePixelRatio || 1;
  map.width = Math.round(map.clientWidth * ratio);
  map.height = Math.round(map.clientHeight * ratio);
  mapImage = null;
}

function paintMap() {
  const ratio = window.devicePixelRatio || 1;
  const image = document.createElement("canvas");
  image.width = map.width;
  image.height = map.height;
  const brush = image.getContext("2d");
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  const height = map.clientHeight;
  let covered = -1; // one shade, however many faults are on
  brush.fillStyle = `rgba(${colours.trouble}, 0.14)`;
  for (const fault of [...run.faults].sort((one, other) => one.begin - other.begin)) {
    const from = Math.max(mapX(fault.begin), covered);
    const to = Math.max(mapX(fault.end), mapX(fault.begin) + 1.5);
    if (to > from) brush.fillRect(from, 0, to - from, height);
    covered = Math.max(covered, to);
  }
  const columns = Math.ceil(map.clientWidth);
  const sent = new Float64Array(columns);
  const lost = new Float64Array(columns);
  for (let index = 0; index < flights.from.length; index++) {
    const column = Math.floor(mapX(flights.at[index]) / 3) * 3;
    sent[column]++;
    if (flights.fate[index]) lost[column]++;
  }
  const most = Math.max(4, ...sent);
  for (let column = 0; column < columns; column += 3) {
    brush.fillStyle = colours.nobody;
    brush.fillRect(column, height - 2 - 20 * Math.sqrt(sent[column] / most), 2, 20 * Math.sqrt(sent[column] / most));
    brush.fillStyle = colours.drop;
    brush.fillRect(column, height - 2 - 20 * Math.sqrt(lost[column] / most), 2, 20 * Math.sqrt(lost[column] / most));
  }
  const rows = { violation: 3, died: 5, suspected: 12, recovered: 19 };
  for (const own of marks) {
    for (const [number, kind] of own) {
      if (!(kind in rows)) continue;
      brush.fillStyle = colours[MARK_COLOURS[kind]];
      brush.fillRect(mapX(at[number]) - 1, rows[kind], 2, kind === "violation" ? 22 : 6);
    }
  }
  return image;
}

function drawMinimap() {
  if (!map.width) return;
  mapImage ??= paintMap();
  const ratio = window.devicePixelRatio || 1;
  mapPen.setTransform(1, 0, 0, 1, 0, 0);
  mapPen.clearRect(0, 0, map.width, map.height);
  mapPen.drawImage(mapImage, 0, 0);
  mapPen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const from = mapX(view.from);
  const to = Math.max(mapX(view.to), from + 3);
  mapPen.fillStyle = colours.isDark ? "rgba(0, 0, 0, 0.45)" : "rgba(110, 120, 140, 0.22)";
  mapPen.fillRect(0, 0, from, map.clientHeight);
  mapPen.fillRect(to, 0, map.clientWidth, map.clientHeight);
  mapPen.strokeStyle = colours.accent;
  mapPen.lineWidth = 2;
  mapPen.strokeRect(from, 1, to - from, map.clientHeight - 2);
  mapPen.fillStyle = colours.soft;
  mapPen.font = `11px ${FONT}`;
  mapPen.textBaseline = "middle";
  mapPen.textAlign = "left";
  mapPen.fillText("whole run", 8, map.clientHeight / 2);
  if (choice.number) {
    mapPen.fillStyle = colours.accent;
    mapPen.fillRect(mapX(at[choice.number]) - 0.5, 0, 1.5, map.clientHeight);
  }
}
