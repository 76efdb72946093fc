// The calibration page: draws the state, sends it to be checked after every change, and saves it.

import { NUMBERS, TOOLS, click, emptyState, fromDraft, newShape, prune, shapes, toDraft } from "./tools.js";

const SVG = "http://www.w3.org/2000/svg";
const CHECK_AFTER_MS = 120;
const $ = (id) => document.getElementById(id);
let state = emptyState([16, 16]);
let checked = {};
let waiting = 0;
let asked = 0;
let dragged = null;

async function post(name, body) {
  const response = await fetch(name, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function svg(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function say(text, problems = []) {
  $("status").textContent = text;
  $("problems").replaceChildren(...problems.map((problem) => element("li", {}, problem)));
}

function lost(error) {
  say("", [`alprd calibrate does not answer (${error.message}); is it still running?`]);
  $("save").disabled = true;
}

// -- checking

function changed() {
  prune(state);
  draw();
  list();
  clearTimeout(waiting);
  waiting = setTimeout(check, CHECK_AFTER_MS);
}

async function check() {
  const draft = toDraft(state);
  const turn = (asked += 1);
  document.body.dataset.checked = "";
  try {
    const answer = await post("check", draft);
    if (turn !== asked) return;
    checked = answer;
    const empty = Object.keys(draft).length === 0;
    say("", empty ? [] : answer.problems);
    $("save").disabled = empty || answer.problems.length > 0;
    draw();
    showFacts();
    document.body.dataset.checked = String(turn);
  } catch (error) {
    lost(error);
  }
}

async function save() {
  try {
    const answer = await post("save", toDraft(state));
    const saved = `Saved ${answer.file}. In force after: systemctl reload alprd`;
    say(answer.problems.length ? "" : saved, answer.problems);
  } catch (error) {
    lost(error);
  }
}

async function finish() {
  try {
    await post("finish", {});
    document.body.replaceChildren(element("p", { id: "hint" }, "Done. This page can be closed."));
  } catch (error) {
    lost(error);
  }
}

// -- the picture

function draw() {
  const [width, height] = state.size;
  const unit = width / 640;
  const parts = [svg("image", { href: "picture.jpg", width, height })];
  if (state.way !== "lines" && state.way !== "none") {
    for (const line of checked.grid ?? []) {
      parts.push(svg("polyline", { class: "grid", points: line.map((p) => p.join(",")).join(" ") }));
    }
  }
  shapes(state).forEach((shape, s) => {
    const outline = shape.points.map((p) => `${p.x},${p.y}`).join(" ");
    if (shape.points.length > 1 && !(shape.numbered && !shape.closed)) {
      parts.push(svg(shape.closed ? "polygon" : "polyline", { class: `edge ${shape.kind}`, points: outline }));
    }
    shape.points.forEach((p, i) => {
      const handle = { class: `handle ${shape.kind}`, cx: p.x, cy: p.y, r: 4 * unit };
      parts.push(svg("circle", { ...handle, "data-shape": s, "data-point": i }));
      const label = shape.numbered ? String(i + 1) : i === 0 ? shape.name : "";
      if (label) parts.push(svg("text", { x: p.x + 6 * unit, y: p.y - 5 * unit, "font-size": 11 * unit }, label));
    });
  });
  $("picture").setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("picture").replaceChildren(...parts);
}

function place(event) {
  const box = $("picture").getBoundingClientRect();
  const [width, height] = state.size;
  const inside = (value, most) => Math.min(most, Math.max(0, value));
  return {
    x: inside(((event.clientX - box.left) / box.width) * width, width),
    y: inside(((event.clientY - box.top) / box.height) * height, height),
  };
}

function handleAt(event) {
  const { shape, point } = event.target.dataset ?? {};
  return point === undefined ? null : { points: shapes(state)[Number(shape)].points, index: Number(point) };
}

function press(event) {
  if (event.button !== 0) return;
  dragged = handleAt(event);
  if (dragged === null) {
    click(state, place(event));
    changed();
  } else {
    $("picture").setPointerCapture(event.pointerId);
  }
}

function move(event) {
  if (dragged === null) return;
  Object.assign(dragged.points[dragged.index], place(event));
  draw();
}

function release() {
  if (dragged === null) return;
  dragged = null;
  changed();
}

function remove(event) {
  event.preventDefault();
  const found = handleAt(event);
  if (found === null) return;
  found.points.splice(found.index, 1);
  changed();
}

// -- the lists beside it

function numberInput(value, label, set) {
  const input = element("input", { type: "number", step: "any", "aria-label": label });
  input.value = value ?? "";
  input.addEventListener("input", () => {
    set(input.value === "" || Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber);
    clearTimeout(waiting);
    waiting = setTimeout(check, CHECK_AFTER_MS);
  });
  return input;
}

function choice(values, chosen, label, set) {
  const select = element("select", { "aria-label": label });
  for (const [value, text] of values) select.append(element("option", { value }, text));
  select.value = chosen;
  select.addEventListener("change", () => { set(select.value); changed(); });
  return select;
}

function removeButton(label, act) {
  const button = element("button", { class: "plain", "aria-label": label, title: label }, "✕");
  button.addEventListener("click", () => { act(); changed(); });
  return button;
}

function list() {
  for (const button of $("tools").children) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === state.tool));
  }
  const hint = TOOLS[state.tool].hint;
  $("hint").textContent = typeof hint === "string" ? hint : hint[state.way];
  $("way").value = state.way;
  $("rectangle").hidden = state.way !== "rectangle";
  $("apart").hidden = state.way !== "lines";
  $("numbers").hidden = state.way === "none";
  listPoints();
  listShapes();
}

function listPoints() {
  const typed = state.way === "points";
  const rows = state.points.map((p, i) => {
    const row = element("tr");
    row.append(element("td", {}, String(i + 1)), element("td", {}, `${p.x.toFixed(0)}, ${p.y.toFixed(0)}`));
    if (typed) {
      for (const key of ["X", "Y"]) {
        const cell = element("td");
        cell.append(numberInput(p[key], `Point ${i + 1} ${key} in metres`, (value) => { p[key] = value; }));
        row.append(cell);
      }
    }
    const last = element("td");
    last.append(removeButton(`Remove point ${i + 1}`, () => state.points.splice(i, 1)));
    row.append(element("td", { class: "off" }), last);
    return row;
  });
  const head = element("tr");
  for (const text of ["", "pixels", ...(typed ? ["X (m)", "Y (m)"] : []), "off", ""]) head.append(element("th", {}, text));
  $("points").replaceChildren(...(rows.length ? [head, ...rows] : []));
  $("points").hidden = state.way === "lines" || state.way === "none";
  showFacts();
}

function showFacts() {
  const off = checked.errors_px ?? [];
  $("points").querySelectorAll("td.off").forEach((cell, i) => {
    cell.textContent = off[i] === undefined ? "" : `${off[i].toFixed(1)} px`;
    cell.classList.toggle("bad", off[i] > 5);
  });
  $("facts").textContent = [checked.height, checked.typical].filter(Boolean).join(" ");
  $("above").hidden = !checked.above;
  if (checked.above) $("above").querySelector("img").src = checked.above;
  $("above").querySelector("figcaption").textContent = checked.above ? `From above; a square is ${checked.step_m} m wide.` : "";
}

function listShapes() {
  const rows = [];
  const row = (kind, ...parts) => {
    const made = element("div", { class: "shape" });
    made.append(element("span", { class: `swatch ${kind}` }), ...parts);
    rows.push(made);
  };
  const name = (item) => {
    const input = element("input", { "aria-label": "Name" });
    input.value = item.name;
    input.addEventListener("change", () => { item.name = input.value; changed(); });
    return input;
  };
  if (state.roi.length) {
    row("roi", element("span", {}, `Region of ${state.roi.length} corners`), removeButton("Remove the region", () => { state.roi = []; }));
  }
  state.zones.forEach((zone, i) => {
    const text = element("span", {}, `${zone.polygon.length} corners`);
    row("zone", name(zone), text, removeButton(`Remove ${zone.name}`, () => state.zones.splice(i, 1)));
  });
  state.lines.forEach((line, i) => {
    const ways = ["up", "down", "left", "right"].map((way) => [way, `${way} is in`]);
    const allowed = [["both", "both ways"], ["in", "in only"], ["out", "out only"]];
    row(
      "line",
      name(line),
      choice(ways, line.inwards, "Which way is in", (value) => { line.inwards = value; }),
      choice(allowed, line.allowed ?? "both", "Allowed", (value) => { line.allowed = value; }),
      removeButton(`Remove ${line.name}`, () => state.lines.splice(i, 1)),
    );
  });
  if (state.tool === "zone" && state.zones.at(-1)?.polygon.length) {
    const more = element("button", {}, "New zone");
    more.addEventListener("click", () => { newShape(state); changed(); });
    rows.push(more);
  }
  if (!rows.length) rows.push(element("span", {}, "None drawn."));
  $("shape-list").replaceChildren(...rows);
}

// -- beginning

function buildTools() {
  for (const [tool, { label }] of Object.entries(TOOLS)) {
    const button = element("button", { "data-tool": tool }, label);
    button.addEventListener("click", () => { state.tool = tool; list(); });
    $("tools").append(button);
  }
}

function buildNumbers() {
  for (const [key, label, unit] of NUMBERS) {
    const row = element("label", {}, `${label} `);
    const field = element("span");
    field.append(numberInput(state.numbers[key], label, (value) => { state.numbers[key] = value; }), ` ${unit}`);
    if (key === "limit") {
      field.append(choice([["kmh", "km/h"], ["mph", "mph"]], state.unit, "Unit", (value) => { state.unit = value; }));
    }
    row.append(field);
    $("numbers").append(row);
  }
  const row = element("label", {}, "Plates are wide (m), if known ");
  const widths = element("input", { "aria-label": "Plate widths", placeholder: "0.52, 0.21", size: 10 });
  widths.value = state.widths;
  widths.addEventListener("input", () => {
    state.widths = widths.value;
    clearTimeout(waiting);
    waiting = setTimeout(check, CHECK_AFTER_MS);
  });
  row.append(widths);
  $("numbers").append(row);
  for (const key of ["width_m", "length_m", "distance_m"]) {
    $(key).value = state[key] ?? "";
    $(key).addEventListener("input", () => {
      state[key] = $(key).value === "" ? null : $(key).valueAsNumber;
      clearTimeout(waiting);
      waiting = setTimeout(check, CHECK_AFTER_MS);
    });
  }
}

async function begin() {
  const started = await post("begin", {});
  state = fromDraft(started.draft, started.frame_size);
  $("camera").textContent = started.camera;
  buildTools();
  buildNumbers();
  $("way").addEventListener("change", () => { state.way = $("way").value; state.tool = "measured"; changed(); });
  $("picture").addEventListener("pointerdown", press);
  $("picture").addEventListener("pointermove", move);
  $("picture").addEventListener("pointerup", release);
  $("picture").addEventListener("contextmenu", remove);
  $("save").addEventListener("click", save);
  $("finish").addEventListener("click", finish);
  changed();
}

begin().catch(lost);
