// What all parts of the page share: the scene, the state, the server's answers, messages.

import { byId } from "./panel.js";
import { Scene } from "./scene.js";

export const scene = new Scene(byId("gl"));
export const state = {
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

export async function getJson(url) {
  return (await get(url)).json();
}

export async function get(url) {
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

export function tell(message) {
  byId("message").textContent = message ?? "";
  byId("message").hidden = !message;
}

export function say(text) {
  byId("live").textContent = text;
}

export async function busy(work) {
  byId("busy").hidden = false;
  document.body.dataset.busy = Number(document.body.dataset.busy ?? 0) + 1;
  try {
    return await work();
  } finally {
    document.body.dataset.busy -= 1;
    byId("busy").hidden = Number(document.body.dataset.busy) === 0;
  }
}

async function bytesOf(answer) {
  try {
    return await answer.arrayBuffer();
  } catch {
    throw new Error("The connection broke before the volume was here; open the case again.");
  }
}

/** The volume of a layer, which has a `url` or carries a `buffer`. */
export async function volumeOf(layer) {
  const buffer = layer.buffer ?? (await bytesOf(await get(layer.url)));
  try {
    return await scene.read(buffer, layer.fileName ?? "volume.nii");
  } catch (error) {
    throw new Error(`${layer.label}: ${error.message ?? error}`);
  }
}
