// The page for browsers without WebGL 2: numbers, and files to save.

import { make, size, table, uploadForm } from "./jobs.js";

uploadForm(document.getElementById("upload"), (job, _files, place) => {
  const rows = job.result.lesions.slice(0, 100).map((found) => [found.label, found.number, size(found), found.centre_mm.join(", "), found.mean_probability]);
  if (rows.length) place.append(table(["label", "number", "size", "centre, mm RAS", "mean probability"], rows));
  else place.append(make("p", {}, "No lesion."));
});
