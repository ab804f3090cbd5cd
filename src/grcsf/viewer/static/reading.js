// Grey-value window, and what stands at the crosshair.

import { byId, number, showReadout } from "./panel.js";
import { fileVoxel } from "./scene.js";
import { scene, state } from "./state.js";

export function firstWindow() {
  const modality = state.shown?.modality;
  const ct = modality ? modality === "CT" : !state.shown?.picture && scene.looksLikeCt();
  return ct && state.base.role === "image" ? "soft-tissue" : "auto";
}

export function chooseWindow(name) {
  if (!scene.base) return;
  const preset = state.list.windows.find((window) => window.name === name);
  byId("window").value = preset ? name : "auto";
  const [low, high] = preset ? [preset.low, preset.high] : scene.autoWindow();
  scene.setWindow(low, high);
  showWindow(low, high);
}

export function showWindow(low, high) {
  byId("low").value = number(low);
  byId("high").value = number(high);
}

export function typedWindow() {
  const [low, high] = [byId("low").valueAsNumber, byId("high").valueAsNumber];
  if (!(high > low)) return;
  byId("window").value = "own";
  scene.setWindow(low, high);
}

export function readout(mm) {
  if (!mm || !scene.base || !state.shown) return showReadout([]);
  const voxel = fileVoxel(scene.base, mm);
  const places = state.shown.picture
    ? [["Column, row", `${voxel[0]}, ${voxel[1]}`], ["mm from the top left", voxel.slice(0, 2).map((place, axis) => (place * scene.base.hdr.pixDims[axis + 1]).toFixed(1)).join(", ")]]
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
