// What the page draws, as one plain state, and the configuration's tables made of it.

export const TOOLS = {
  measured: {
    label: "Measured points",
    hint: {
      points: "Click at least four places on the road whose positions you know; type them in metres. Six to ten are better. Drag to correct, right-click to remove.",
      rectangle: "Click the rectangle's corners: near left, near right, far right, far left. Type its sides.",
      lines: "Click the two ends of a line across the road, from one of its edges to the other, then of a second one behind it. Type how far apart they are, and the camera's height.",
      none: "No speed will be measured.",
    },
  },
  roi: { label: "Region of interest", hint: "Click around the area in which plates count. Right-click a corner to remove it." },
  zone: { label: "Zone", hint: "Click around an area to be named in events. “New zone” begins another." },
  line: { label: "Counting line", hint: "Click two ends. Say which way is in; vehicles that cross it are counted." },
};

export const NUMBERS = [
  ["plate_height_m", "Plates above the points", "m", 0.5],
  ["plate_height_error_m", "… differ by", "m", 0.1],
  ["camera_height_m", "Camera above the points", "m", null],
  ["error_px", "Clicked to", "px", 1.0],
  ["error_m", "Measured to", "m", 0.02],
  ["limit", "Speed limit", "", null],
];

// Keys without a field here: what the files say of them stays.
const KEPT = ["plate_width_error", "readout_s", "camera_height_error_m", "min_path_m", "max_error_share"];

export function emptyState(size) {
  return {
    size, way: "points", tool: "measured",
    points: [], speedLines: [], width_m: null, length_m: null, distance_m: null,
    roi: [], zones: [], lines: [], unit: "kmh", widths: "",
    numbers: Object.fromEntries(NUMBERS.map(([key, , , value]) => [key, value])),
    kept: {}, had: {},
  };
}

const toPx = (size) => ([x, y]) => ({ x: x * size[0], y: y * size[1] });
const toFraction = (size) => (p) => [round(p.x / size[0], 5), round(p.y / size[1], 5)];
const round = (value, digits) => Number(value.toFixed(digits));
const pair = (p) => [round(p.x, 1), round(p.y, 1)];

export function fromDraft(draft, size) {
  const state = emptyState(size);
  state.had = draft;
  state.roi = (draft.roi ?? []).map(toPx(size));
  state.zones = (draft.zones ?? []).map((z) => ({ ...z, polygon: z.polygon.map(toPx(size)) }));
  state.lines = (draft.lines ?? []).map((l) => ({ ...l, points: l.points.map(toPx(size)) }));
  const speed = draft.speed;
  if (!speed) return state;
  // Clicked in a picture of another size: the same places in this one.
  const scale = [size[0] / speed.frame_size[0], size[1] / speed.frame_size[1]];
  const placed = ([x, y]) => ({ x: x * scale[0], y: y * scale[1] });
  const metres = speed.metres ?? [];
  state.points = (speed.points ?? []).map((p, i) => ({
    ...placed(p), X: metres[i]?.[0] ?? null, Y: metres[i]?.[1] ?? null,
  }));
  state.speedLines = (speed.lines ?? []).map((line) => line.map(placed));
  if (speed.rectangle_m) [state.way, state.width_m, state.length_m] = ["rectangle", ...speed.rectangle_m];
  if (state.speedLines.length) state.way = "lines";
  state.distance_m = speed.distance_m ?? null;
  state.unit = speed.unit ?? "kmh";
  for (const [key] of NUMBERS) if (speed[key] != null) state.numbers[key] = speed[key];
  state.widths = (speed.plate_widths_m ?? []).join(", ");
  for (const key of KEPT) {
    if (speed[key] != null) state.kept[key] = speed[key];
  }
  if (speed.lens) {
    const { focal_px, centre_px, distortion } = speed.lens;
    state.kept.lens = {
      focal_px: focal_px * scale[0],
      centre_px: [centre_px[0] * scale[0], centre_px[1] * scale[1]],
      ...(distortion ? { distortion } : {}),
    };
  }
  return state;
}

function speedTable(state) {
  const table = { frame_size: state.size };
  if (state.way === "lines") {
    table.lines = state.speedLines.map((line) => line.map(pair));
    if (state.distance_m != null) table.distance_m = state.distance_m;
  } else {
    table.points = state.points.map(pair);
    if (state.way === "rectangle") table.rectangle_m = [state.width_m ?? 0, state.length_m ?? 0];
    else table.metres = state.points.filter((p) => p.X != null && p.Y != null).map((p) => [p.X, p.Y]);
  }
  for (const [key, value] of Object.entries(state.numbers)) if (value != null) table[key] = value;
  const widths = state.widths.split(",").map((text) => text.trim()).filter(Boolean);
  // What is no number goes as it is, so that the configuration can say so.
  if (widths.length) table.plate_widths_m = widths.map((text) => (Number.isNaN(Number(text)) ? text : Number(text)));
  return { ...table, unit: state.unit, ...state.kept };
}

export function toDraft(state) {
  const draft = {};
  const drawn = state.points.length > 0 || state.speedLines.length > 0 || state.had.speed;
  if (state.way !== "none" && drawn) draft.speed = speedTable(state);
  const fractions = toFraction(state.size);
  if (state.roi.length) draft.roi = state.roi.map(fractions);
  // A region that was taken away may still stand in the main file: the whole picture replaces it.
  else if (state.had.roi) draft.roi = [[0, 0], [1, 0], [1, 1], [0, 1]];
  if (state.zones.length || state.had.zones) {
    draft.zones = state.zones.map((z) => ({ ...z, polygon: z.polygon.map(fractions) }));
  }
  if (state.lines.length || state.had.lines) {
    draft.lines = state.lines.map((l) => ({ ...l, points: l.points.map(fractions) }));
  }
  return draft;
}

function freeName(kind, taken) {
  for (let n = 1; ; n += 1) if (!taken.includes(`${kind}-${n}`)) return `${kind}-${n}`;
}

export function newShape(state) {
  if (state.tool === "zone") {
    state.zones.push({ name: freeName("zone", state.zones.map((z) => z.name)), polygon: [] });
  }
}

// A click on the picture: adds to what the tool draws.
export function click(state, p) {
  if (state.tool === "measured" && state.way === "lines") {
    const last = state.speedLines.at(-1);
    if (last && last.length < 2) last.push(p);
    else if (state.speedLines.length < 2) state.speedLines.push([p]);
  } else if (state.tool === "measured" && state.way !== "none") {
    if (state.way !== "rectangle" || state.points.length < 4) {
      state.points.push({ ...p, X: null, Y: null });
    }
  } else if (state.tool === "roi") {
    state.roi.push(p);
  } else if (state.tool === "zone") {
    if (!state.zones.length) newShape(state);
    state.zones.at(-1).polygon.push(p);
  } else if (state.tool === "line") {
    const last = state.lines.at(-1);
    if (last && last.points.length < 2) {
      last.points.push(p);
      const [a, b] = last.points;
      last.inwards = Math.abs(b.x - a.x) >= Math.abs(b.y - a.y) ? "down" : "right";
    } else {
      const name = freeName("line", state.lines.map((l) => l.name));
      state.lines.push({ name, points: [p], inwards: "down" });
    }
  }
}

// Everything that is drawn: kind, its points, whether it is closed, and how it is called.
export function shapes(state) {
  const found = [];
  if (state.way === "lines") {
    for (const line of state.speedLines) found.push({ kind: "speed", points: line, closed: false, name: "" });
  } else if (state.way !== "none") {
    found.push({ kind: "measured", points: state.points, closed: state.way === "rectangle", numbered: true });
  }
  found.push({ kind: "roi", points: state.roi, closed: true, name: "region" });
  for (const z of state.zones) found.push({ kind: "zone", points: z.polygon, closed: true, name: z.name });
  for (const l of state.lines) found.push({ kind: "line", points: l.points, closed: false, name: l.name });
  return found;
}

export function prune(state) {
  state.speedLines = state.speedLines.filter((line) => line.length);
  state.zones = state.zones.filter((z, i) => z.polygon.length || i === state.zones.length - 1);
  state.lines = state.lines.filter((l) => l.points.length);
}
