// The page: cases come from the API (see grcsf/viewer/api.py) or from a file that is dropped in.

import { KEYS, listenForKeys } from "./keys.js";
import { draw, loadVisible, outline, startOverlays } from "./overlays.js";
import { byId, el, number, showCases, showHelp, showLayers, showLesions, showReadout } from "./panel.js";
import { chooseWindow, firstWindow, readout, showWindow, typedWindow } from "./reading.js";
import { busy, getJson, say, scene, state, tell, volumeOf } from "./state.js";

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

/** Show a case in the form of the API; layers may carry a `buffer` (and `fileName`) instead of a `url`, and `lesions` may be the list itself. */
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
      startOverlays(found.layers.filter((layer) => layer !== bottom && layer.role !== "image"), bottom);
      showChannels(images);
      chooseWindow(state.window ?? firstWindow());
      scene.mount();
      fitViews();
      scene.centre();
      await Promise.all([loadVisible(turn), loadLesions(found, turn)]);
      say(`${found.name}, ${state.lesions?.lesions.length ?? 0} lesions`);
    } catch (error) {
      if (turn === state.turn) fail(error);
    }
  });
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
      chooseWindow(state.window ?? firstWindow());
      scene.mount();
      draw();
      scene.jump(mm);
    } catch (error) {
      tell(error.message);
    }
  });
}

// Lesions

async function loadLesions(found, turn) {
  state.lesions = null;
  showLesions(null, -1, jump);
  if (!found.lesions) return;
  try {
    const lesions = typeof found.lesions === "string" ? await getJson(found.lesions) : found.lesions;
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
  showLesions(state.lesions, index, jump);
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

// View, screenshot

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
  on("outline", "change", (event) => outline(event.target.checked));
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
