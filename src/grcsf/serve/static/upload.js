// The part of the viewer's page that uploads: a form beside the image, and the result of a job as a case of the viewer.

import { ask, uploadForm } from "./jobs.js";

const viewer = window.grcsf;

/** The lesions of a result in the form of the viewer's API, at an address of this page's own. */
function lesionsOf(result) {
  const picture = result.shape.length === 2;
  const listed = result.lesions.map((found) => ({
    label: found.label,
    source: "prediction",
    number: found.number,
    size: picture ? found.area_mm2 : found.volume_ml,
    voxels: found.voxels,
    state: "single",
    score: found.mean_probability,
    overlap: null,
    ...(picture ? inPicture(found, result) : { voxel: found.centre_voxel.map(Math.round), mm: found.centre_mm }),
  }));
  const all = result.labels.reduce((sum, label) => sum + label.lesions, 0);
  const content = { unit: picture ? "mm2" : "ml", preset: "serve", left_out: all - listed.length, notes: [], lesions: listed };
  return URL.createObjectURL(new Blob([JSON.stringify(content)], { type: "application/json" }));
}

/** The viewer turns a PNG: columns to the right, the first row on top. */
function inPicture(found, result) {
  const [row, column] = found.centre_voxel;
  const [rowMm, columnMm] = result.spacing_mm;
  return { voxel: [Math.round(column), Math.round(row), 0], mm: [column * columnMm, (result.shape[0] - 1 - row) * rowMm, 0] };
}

async function layerOf(role, kind, label, path) {
  const answer = await ask(path);
  const name = /filename="([\w.-]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "volume.nii";
  return { id: `${role} ${kind}`, role, kind, label, buffer: await answer.arrayBuffer(), fileName: name };
}

/** The image: as NIfTI from the server where browsers cannot show the upload, else the files as they were chosen. */
async function imagesOf(files, held) {
  if (held.image) return [await layerOf("image", "", "Image", held.image)];
  return Promise.all(
    files.map(async (file, index) => ({
      id: `image ${index}`,
      role: "image",
      kind: "",
      label: files.length > 1 ? `Image ${index + 1}` : "Image",
      buffer: await file.arrayBuffer(),
      fileName: file.name,
    })),
  );
}

const UNITS = {
  importance: "Importance of patches",
  fusion: "Use of the residual map",
  "rcu-gain": "Gain of the region unit",
  "gcu-gain": "Gain of the global unit",
};

/** What a map is called: residual-r50, importance-1, fusion-1-r50, gcu-gain-0 ... */
function labelOf(kind) {
  const [, part, level, ratio] = /^([a-z-]+?)(?:-(\d+))?(?:-r(\d+))?$/.exec(kind) ?? [null, kind];
  const words = [part === "residual" ? "Residual" : (UNITS[part] ?? part)];
  if (level) words.push(`level ${level}`);
  if (ratio) words.push(`mask ratio 0.${ratio}`);
  return words.join(", ");
}

async function show(job, files) {
  const { result } = job;
  const held = result.files;
  const kinds = Object.keys(held).filter((name) => !["mask", "probability", "image"].includes(name) && !name.startsWith("view-"));
  const at = (name) => held[`view-${name}`] ?? held[name];
  const layers = await Promise.all([
    layerOf("prediction", "mask", "Prediction", at("mask")),
    layerOf("map", "prob", "Probability", at("probability")),
    ...kinds.map((name) => layerOf("map", name, labelOf(name), at(name))),
  ]);
  const images = await imagesOf(files, held);
  const lesions = lesionsOf(result);
  await viewer.openCase({ name: "Upload", picture: result.shape.length === 2, modality: null, layers: [...images, ...layers], lesions });
  URL.revokeObjectURL(lesions);
}

const start = uploadForm(document.getElementById("extension"), show);
document.addEventListener("grcsf:file", (event) => {
  event.preventDefault();
  start([event.detail.file]);
});
viewer.tell("Drop a scan here, or choose its files on the right. It is removed from the server once it is predicted.");
