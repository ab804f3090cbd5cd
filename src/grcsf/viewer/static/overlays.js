// Overlays of a case: read when they are switched on, drawn maps first, remembered from case to case.

import { byId, showLayers } from "./panel.js";
import { readout } from "./reading.js";
import { busy, scene, state, volumeOf } from "./state.js";

const FIRST = { reference: { visible: true, opacity: 0.45 }, prediction: { visible: true, opacity: 0.45 }, map: { visible: false, opacity: 0.7 } };
const keyOf = (layer) => `${layer.role} ${layer.kind}`;

export function startOverlays(layers, bottom) {
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

export async function loadVisible(turn) {
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
    scene.setOpacity(volume, overlay.opacity);
    overlay.volume = volume;
    overlay.problem = null;
  } catch (error) {
    overlay.problem = error.message;
  }
}

/** Maps lie below masks; what is switched off is not drawn at all. */
export function draw() {
  const on = byId("overlays").checked ? state.overlays.filter((overlay) => overlay.visible && overlay.volume) : [];
  const order = ["map", "reference", "prediction"];
  on.sort((one, two) => order.indexOf(one.layer.role) - order.indexOf(two.layer.role));
  scene.setOverlays(on.map((overlay) => overlay.volume));
}

export function outline(on) {
  scene.setOutline(on);
  for (const overlay of state.overlays) if (overlay.volume) scene.setOpacity(overlay.volume, overlay.opacity);
}
