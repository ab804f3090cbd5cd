// Upload files, wait for the job, show what was found. Text from the server is set as text, never as markup.
"use strict";

const byId = (name) => document.getElementById(name);

function headers() {
  const token = byId("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers() });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    throw new Error(problem.detail);
  }
  return answer;
}

function show(text, failed = false) {
  byId("state").textContent = text;
  byId("state").classList.toggle("error", failed);
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function table(heads, rows) {
  const made = element("table");
  for (const [cell, line] of [["th", heads], ...rows.map((row) => ["td", row])]) {
    const tr = element("tr");
    line.forEach((text) => tr.append(element(cell, text)));
    made.append(tr);
  }
  return made;
}

async function save(path, name) {
  const blob = await (await ask(path)).blob();
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function size(found) {
  return found.volume_ml === null ? `${found.area_mm2.toFixed(1)} mm²` : `${found.volume_ml.toFixed(3)} ml`;
}

function showResult(result) {
  const place = byId("result");
  place.replaceChildren();
  place.append(element("p", `All lesions: ${size(result)}. ${result.warnings.join("; ")}.`));
  place.append(table(["label", "lesions", "size"], result.labels.map((l) => [l.label, l.lesions, size(l)])));
  const rows = result.lesions.slice(0, 50).map((l) => [l.label, l.number, size(l), l.centre_mm.join(", "), l.mean_probability]);
  if (rows.length) place.append(table(["label", "number", "size", "centre, mm RAS", "mean probability"], rows));
  for (const [name, path] of Object.entries(result.files)) {
    const button = element("button", `Save ${name}`);
    button.addEventListener("click", () => save(path, name).catch((error) => show(error.message, true)));
    place.append(button, " ");
  }
}

async function run(files) {
  byId("result").replaceChildren();
  const form = new FormData();
  form.append("explain", "true");
  [...files].sort((a, b) => a.name.localeCompare(b.name)).forEach((file) => form.append("files", file));
  try {
    show("uploading");
    let job = await (await ask("/jobs", { method: "POST", body: form })).json();
    while (job.state === "queued" || job.state === "running") {
      show(job.state === "queued" ? `waiting, place ${job.position}` : "predicting");
      await new Promise((resolve) => setTimeout(resolve, 1000));
      job = await (await ask(`/jobs/${job.id}`)).json();
    }
    if (job.state !== "done") throw new Error(job.error ?? job.state);
    show("done");
    showResult(job.result);
  } catch (error) {
    show(error.message, true);
  }
}

async function describe() {
  try {
    const model = await (await ask("/model")).json();
    byId("model").textContent = `Images needed, in this order: ${model.channels.join(", ")}. Labels: ${Object.keys(model.labels).join(", ")}.`;
  } catch {
    byId("model").textContent = "";
  }
}

const drop = byId("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  run(event.dataTransfer.files);
});
byId("files").addEventListener("change", (event) => run(event.target.files));
byId("token").addEventListener("change", describe);
describe();
