// The page: cases come from the API (see grcsf/viewer/api.py) or from a file that is dropped in.

import { KEYS, listenForKeys } from "./keys.js";
import { byId, el, number, showCases, showHelp, showLayers, showLesions, showReadout } from "./panel.js";
import { Scene, fileVoxel } from "./scene.js";

const scene = new Scene(byId("gl"));
const state = {
  list: { cases: [], labels: { 1: "lesion" }, windows: [] },
  index: -1,
  shown: null, // the case on the screen: {name, picture, modality, layers, lesions}
  overlays: [], // {layer, volume, visible, opacity, threshold, range, problem}
  lesions: null,
  lesion: -1,
  window: null, // chosen by the user, kept from case to case: a name of a window or "auto"
  kept: new Map(), // role and kind -> {visible, opacity, threshold}, kept from case to case
  turn: 0, // counts what was opened, so that an answer that comes late is dropped
};

async function getJson(url) {
  return (await get(url)).json();
}

async function get(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Error("The server does not answer; is grcsf still running?");
  }
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({}));
  throw new Error(found.error ?? `The server answered with status ${answer.status}.`);
}

function tell(message) {
  byId("message").textContent = message ?? "";
  byId("message").hidden = !message;
}

function say(text) {
  byId("live").textContent = text;
}

async function busy(work) {
  byId("busy").hidden = false;
  document.body.dataset.busy = Number(document.body.dataset.busy ?? 0) + 1;
  try {
    return await work();
  } finally {
    document.body.dataset.busy -= 1;
    byId("busy").hidden = Number(document.body.dataset.busy) > 0 ? false : true;
  }
}

// Cases

async function openIndex(index) {
  const entry = state.list.cases[index];
  if (!entry) return;
  const turn = ++state.turn;
  state.index = index;
  byId("case-name").textContent = entry.name;
  showCases(state.list.cases, index, openIndex);
  await busy(async () => {
    try {
      const found = await getJson(`api/cases/${entry.id}`);
      if (turn === state.turn) await openCase(found);
    } catch (error) {
      if (turn === state.turn) fail(error);
    }
  });
}

function fail(error) {
  scene.clear();
  state.overlays = [];
  state.shown = null;
  state.lesions = null;
  showLayers([], {});
  showLesions(null, -1, jump);
  showReadout([]);
  tell(error.message);
}

/** Show a case in the form of the API; layers may carry a `buffer` instead of a `url`. */
async function openCase(found, turn = ++state.turn) {
  const images = found.layers.filter((layer) => layer.role === "image");
  const bottom = images[0] ?? found.layers[0];
  await busy(async () => {
    try {
      const base = await volumeOf(bottom);
      if (turn !== state.turn) return;
      state.shown = found;
      state.base = bottom;
      state.lesions = null;
      state.lesion = -1;
      tell(null);
      byId("case-name").textContent = found.name;
      scene.setBase(base, found.picture);
      base.grcsf = bottom;
      startOverlays(found.layers.filter((layer) => layer !== bottom && layer.role !== "image"), bottom);
      showChannels(images);
      chooseWindow(state.window ?? firstWindow());
      fitViews();
      await Promise.all([loadVisible(turn), loadLesions(found, turn)]);
      say(`${found.name}, ${state.lesions?.lesions.length ?? 0} lesions`);
    } catch (error) {
      if (turn === state.turn) fail(error);
    }
  });
}

async function volumeOf(layer) {
  const buffer = layer.buffer ?? (await (await get(layer.url)).arrayBuffer());
  try {
    return await scene.read(buffer, layer.fileName ?? "volume.nii");
  } catch (error) {
    throw new Error(`${layer.label}: ${error.message ?? error}`);
  }
}

function showChannels(images) {
  byId("channel-box").hidden = images.length < 2;
  byId("channel").replaceChildren(...images.map((layer) => el("option", { value: layer.id }, layer.label)));
}

async function chooseChannel(id) {
  const layer = state.shown.layers.find((one) => one.id === id);
  const mm = scene.crosshair();
  await busy(async () => {
    try {
      const base = await volumeOf(layer);
      state.base = layer;
      scene.setBase(base, state.shown.picture);
      draw();
      chooseWindow(state.window === "auto" || !state.window ? firstWindow() : state.window);
      scene.jump(mm);
    } catch (error) {
      tell(error.message);
    }
  });
}

// Overlays

const FIRST = { reference: { visible: true, opacity: 0.45 }, prediction: { visible: true, opacity: 0.45 }, map: { visible: false, opacity: 0.7 } };
const keyOf = (layer) => `${layer.role} ${layer.kind}`;

function startOverlays(layers, bottom) {
  const own = bottom.role === "image" ? layers : [bottom, ...layers]; // a mask without its image lies on itself
  state.overlays = own.map((layer) => ({ layer, volume: null, ...FIRST[layer.role], ...state.kept.get(keyOf(layer)) }));
  showOverlays();
}

function showOverlays() {
  showLayers(state.overlays, {
    visible: setVisible,
    opacity: (overlay, value) => change(overlay, { opacity: value }, () => scene.setOpacity(overlay.volume, value)),
    threshold: (overlay, value) => change(overlay, { threshold: value }, () => scene.setThreshold(overlay.volume, overlay.range, value)),
  });
}

function change(overlay, values, apply) {
  Object.assign(overlay, values);
  state.kept.set(keyOf(overlay.layer), { visible: overlay.visible, opacity: overlay.opacity, threshold: overlay.threshold });
  if (overlay.volume) apply();
  readout(scene.crosshair());
}

async function setVisible(overlay, visible) {
  change(overlay, { visible }, () => {});
  if (visible) byId("overlays").checked = true;
  if (visible && !overlay.volume) await busy(() => load(overlay, state.turn));
  showOverlays();
  draw();
  readout(scene.crosshair());
}

async function loadVisible(turn) {
  await Promise.all(state.overlays.filter((overlay) => overlay.visible).map((overlay) => load(overlay, turn)));
  if (turn !== state.turn) return;
  showOverlays();
  draw();
  readout(scene.crosshair());
}

async function load(overlay, turn) {
  try {
    const volume = await volumeOf(overlay.layer);
    if (turn !== state.turn) return;
    if (overlay.layer.role === "map") {
      overlay.range = scene.styleMap(volume, overlay.layer.kind);
      const first = overlay.layer.kind === "prob" ? 0.1 : 0.25 * overlay.range.high;
      overlay.threshold = Math.min(overlay.threshold ?? first, overlay.range.high);
      scene.setThreshold(volume, overlay.range, overlay.threshold);
    } else {
      scene.styleMask(volume, overlay.layer.role, state.list.labels);
    }
    volume.opacity = overlay.opacity;
    overlay.volume = volume;
    overlay.problem = null;
  } catch (error) {
    overlay.problem = error.message;
  }
}

/** Maps lie below masks; what is switched off is not drawn at all. */
function draw() {
  const on = byId("overlays").checked ? state.overlays.filter((overlay) => overlay.visible && overlay.volume) : [];
  const order = ["map", "reference", "prediction"];
  on.sort((one, two) => order.indexOf(one.layer.role) - order.indexOf(two.layer.role));
  scene.setOverlays(on.map((overlay) => overlay.volume));
}

// Lesions

async function loadLesions(found, turn) {
  state.lesions = null;
  showLesions(null, -1, jump);
  if (!found.lesions) return;
  try {
    const lesions = await getJson(found.lesions);
    if (turn === state.turn) state.lesions = lesions;
  } catch (error) {
    if (turn === state.turn) state.lesions = { unit: "ml", lesions: [], left_out: 0, notes: [error.message] };
  }
  if (turn === state.turn) showLesions(state.lesions, -1, jump);
}

function jump(index) {
  const lesion = state.lesions?.lesions[index];
  if (!lesion) return;
  state.lesion = index;
  scene.jump(lesion.mm);
  const focused = document.activeElement?.closest?.("#lesions");
  showLesions(state.lesions, index, jump);
  if (focused) byId("lesions").querySelector("[aria-current]")?.focus();
  say(`Lesion ${index + 1} of ${state.lesions.lesions.length}: ${lesion.source}, ${number(lesion.size)} ${state.lesions.unit}, ${lesion.state}`);
}

function stepLesion(step) {
  const count = state.lesions?.lesions.length ?? 0;
  if (count) jump((Math.max(state.lesion, step < 0 ? 0 : -1) + step + count) % count);
}

function stepCase(step) {
  const count = state.list.cases.length;
  if (count > 1) openIndex((state.index + step + count) % count);
}

// Window, view, read-out

function firstWindow() {
  const modality = state.shown?.modality;
  const ct = modality ? modality === "CT" : !state.shown?.picture && scene.looksLikeCt();
  return ct && state.base.role === "image" ? "soft-tissue" : "auto";
}

function chooseWindow(name) {
  if (!scene.base) return;
  const preset = state.list.windows.find((window) => window.name === name);
  byId("window").value = preset ? name : "auto";
  const [low, high] = preset ? [preset.low, preset.high] : scene.autoWindow();
  scene.setWindow(low, high);
  showWindow(low, high);
}

function showWindow(low, high) {
  byId("low").value = number(low);
  byId("high").value = number(high);
}

function typedWindow() {
  const [low, high] = [byId("low").valueAsNumber, byId("high").valueAsNumber];
  if (!(high > low)) return;
  byId("window").value = "own";
  scene.setWindow(low, high);
}

function fitViews() {
  const allowed = scene.views();
  for (const option of byId("view").options) option.disabled = !allowed.includes(option.value);
  byId("view").value = scene.setView(state.view ?? "all");
}

function nextOption(select, skip = () => false) {
  const options = [...select.options].filter((option) => !option.disabled && !option.hidden && !skip(option));
  const now = options.findIndex((option) => option.value === select.value);
  select.value = options[(now + 1) % options.length].value;
  select.dispatchEvent(new Event("change"));
}

function readout(mm) {
  if (!mm || !scene.base || !state.shown) return showReadout([]);
  const voxel = fileVoxel(scene.base, mm);
  const places = state.shown.picture
    ? [["Column, row", `${voxel[0]}, ${voxel[1]}`], ["mm in the slice", mm.slice(0, 2).map((value) => value.toFixed(1)).join(", ")]]
    : [["mm (R, A, S)", mm.map((value) => value.toFixed(1)).join(", ")], ["Voxel", voxel.join(", ")]];
  const values = [[state.base.label, scene.value(scene.base, mm)]];
  for (const overlay of state.overlays) {
    if (overlay.volume && overlay.layer !== state.base) values.push([overlay.layer.label, scene.value(overlay.volume, mm), overlay.layer.role]);
  }
  const texts = values.map(([name, value, role]) => [name, value === null ? "outside" : role && role !== "map" ? labelOf(value) : number(value)]);
  state.mm = mm;
  state.voxel = voxel;
  showReadout([...places, ...texts]);
}

const labelOf = (value) => (value ? (state.list.labels[value] ?? `label ${value}`) : "\u2013");

async function screenshot() {
  if (!scene.base) return;
  const url = URL.createObjectURL(await scene.screenshot());
  const link = el("a", { href: url, download: `${(state.shown?.name ?? "grcsf").replace(/[^\w.-]+/g, "_")}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  say("Screenshot saved");
}

// A file of the user's own

async function openFile(file) {
  const event = new CustomEvent("grcsf:file", { detail: { file }, cancelable: true });
  if (!document.dispatchEvent(event)) return; // an extension takes it
  if (!/\.(nii|nii\.gz|nrrd|mha)$/i.test(file.name)) {
    tell(`${file.name}: a file dropped here can be NIfTI, NRRD or MHA; start grcsf view with its path for other formats.`);
    return;
  }
  const buffer = await file.arrayBuffer();
  state.index = -1;
  await openCase({ name: file.name, picture: false, modality: null, lesions: null, layers: [{ id: "dropped", role: "image", kind: "", label: "Image", buffer, fileName: file.name }] });
}

function listenForDrops() {
  const drop = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) openFile(file);
  });
}

// Start

const actions = {
  nextCase: () => stepCase(1),
  previousCase: () => stepCase(-1),
  nextLesion: () => stepLesion(1),
  previousLesion: () => stepLesion(-1),
  toggleOverlays: () => byId("overlays").click(),
  toggleLayer: (index) => byId(`layer-${index}`)?.click(),
  toggleOutline: () => byId("outline").click(),
  nextView: () => nextOption(byId("view")),
  nextWindow: () => nextOption(byId("window"), (option) => option.value === "own"),
  autoWindow: () => pickWindow("auto"),
  toggleCrosshair: () => scene.toggleCrosshair(),
  move: (x, y, z) => scene.move(x, y, z),
  screenshot,
  help: () => byId("help").showModal(),
};

function pickWindow(name) {
  state.window = name;
  chooseWindow(name);
}

function listen() {
  const on = (id, event, call) => byId(id).addEventListener(event, call);
  on("previous-case", "click", actions.previousCase);
  on("next-case", "click", actions.nextCase);
  on("previous-lesion", "click", actions.previousLesion);
  on("next-lesion", "click", actions.nextLesion);
  on("overlays", "change", draw);
  on("outline", "change", (event) => scene.setOutline(event.target.checked));
  on("filter", "input", () => showCases(state.list.cases, state.index, openIndex));
  on("channel", "change", (event) => chooseChannel(event.target.value));
  on("window", "change", (event) => pickWindow(event.target.value));
  on("low", "change", typedWindow);
  on("high", "change", typedWindow);
  on("screenshot", "click", screenshot);
  on("help-button", "click", actions.help);
  on("help-close", "click", () => byId("help").close());
  on("theme", "click", () => document.documentElement.classList.toggle("light"));
  on("view", "change", (event) => {
    state.view = event.target.value;
    scene.setView(state.view);
  });
  listenForKeys(actions, byId("gl"), () => byId("single-keys").checked);
  listenForDrops();
}

function showWindows(windows) {
  byId("window").replaceChildren(
    el("option", { value: "auto" }, "Auto"),
    ...windows.map((window) => el("option", { value: window.name }, window.label)),
    el("option", { value: "own", hidden: true }, "Own"),
  );
}

/** Ask for the list of cases again, and open one of them (its id, or the first). */
async function refresh(id) {
  state.list = await getJson("api/cases");
  byId("title").textContent = state.list.title;
  document.title = `${state.list.title} \u2013 grcsf view`;
  byId("notes").replaceChildren(...state.list.notes.map((note) => el("span", {}, note)));
  showWindows(state.list.windows);
  const index = Math.max(0, state.list.cases.findIndex((entry) => entry.id === id));
  showCases(state.list.cases, index, openIndex);
  if (state.list.cases.length) await openIndex(index);
}

async function start() {
  showHelp(KEYS);
  listen();
  try {
    await scene.start();
  } catch (error) {
    tell(error.message);
    return;
  }
  scene.onLocation = readout;
  scene.onWindow = (low, high) => {
    byId("window").value = "own";
    showWindow(low, high);
  };
  await busy(() => refresh().catch((error) => tell(error.message)));
  if (state.list.extension) await import(`./${state.list.extension}`).catch(() => tell("A part of this page could not be loaded."));
  document.body.dataset.ready = "yes";
}

/** What an extension of the page may use. */
window.grcsf = { scene, state, openCase, openFile, refresh, tell, say, busy, el };

start();
