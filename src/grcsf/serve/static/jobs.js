// Jobs of the server: send files, wait, fetch; and the form that both pages use. Text is set as text, never as markup.

let token = "";

export async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path.replace(/^\//, ""), { ...options, headers });
  } catch {
    throw new Error("The server does not answer, or it cut the connection.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail ?? `The server answered with status ${answer.status}.`);
}

export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

export function table(heads, rows) {
  const line = (cell, texts) => make("tr", {}, ...texts.map((text) => make(cell, {}, text)));
  return make("table", {}, line("th", heads), ...rows.map((row) => line("td", row)));
}

export const size = (found) => (found.volume_ml === null ? `${found.area_mm2.toFixed(1)} mm\u00b2` : `${found.volume_ml.toFixed(3)} ml`);

/** Post files in the order of their names, and wait until the job is done. */
async function run(files, spacing, tell) {
  const form = new FormData();
  form.append("explain", "true");
  if (spacing) form.append("spacing_mm", spacing);
  for (const file of files) form.append("files", file);
  tell("uploading");
  let job = await (await ask("jobs", { method: "POST", body: form })).json();
  while (job.state === "queued" || job.state === "running") {
    tell(job.state === "queued" ? `waiting, place ${job.position}` : "predicting");
    await new Promise((resolve) => setTimeout(resolve, 500));
    job = await (await ask(`jobs/${job.id}`)).json();
  }
  if (job.state !== "done") throw new Error(job.error ?? `the job has ${job.state}`);
  return job;
}

async function save(path, name) {
  const answer = await ask(path);
  const given = /filename="([\w.-]+)"/.exec(answer.headers.get("content-disposition") ?? "");
  const link = make("a", { href: URL.createObjectURL(await answer.blob()), download: given?.[1] ?? name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A form in `place`; `show(job, files)` is called for a job that is done. Returns what starts one with given files. */
export function uploadForm(place, show) {
  const state = make("p", { role: "status", id: "upload-state" });
  const result = make("div", { id: "upload-result" });
  const needed = make("p", { id: "upload-needed" });
  const spacing = make("input", { id: "upload-spacing", size: 8, placeholder: "1,1" });
  let last = null;

  const tell = (text, failed = false) => {
    state.textContent = text;
    state.classList.toggle("error", failed);
  };
  let asked = 0; // the answer to a question without the token may come after the one with it
  const describe = async () => {
    const turn = ++asked;
    let text;
    try {
      const model = await (await ask("model")).json();
      text = `Needed, in the order of the file names: ${model.channels.join(", ")}.`;
    } catch (error) {
      text = error.message;
    }
    if (turn === asked) needed.textContent = text;
  };
  const remove = async () => {
    await ask(`jobs/${last}`, { method: "DELETE" });
    result.replaceChildren();
    tell("removed from the server");
  };
  const guard = (call) => () => call().catch((error) => tell(error.message, true));
  const start = async (given) => {
    const files = [...given].sort((one, two) => one.name.localeCompare(two.name));
    result.replaceChildren();
    try {
      const job = await run(files, spacing.value.trim(), tell);
      last = job.id;
      tell("done");
      const { files: held, warnings, labels } = job.result;
      result.append(
        make("p", {}, `All lesions: ${size(job.result)}. ${warnings.join("; ")}.`),
        table(["label", "lesions", "size"], labels.map((label) => [label.label, label.lesions, size(label)])),
        ...Object.entries(held)
          .filter(([name]) => !name.startsWith("view-"))
          .map(([name, path]) => make("button", { type: "button", click: guard(() => save(path, name)) }, `Save ${name}`)),
        make("button", { type: "button", click: guard(remove) }, "Remove from the server"),
      );
      await show(job, files, result);
    } catch (error) {
      tell(error.message, true);
    }
  };
  const chosen = (event) => event.target.files.length && start(event.target.files);
  const typed = (event) => {
    token = event.target.value.trim();
    describe();
  };
  const section = make(
    "section",
    {},
    make("h2", {}, "Upload"),
    needed,
    make("p", {}, make("label", {}, "Files ", make("input", { type: "file", multiple: "", id: "upload-files", change: chosen }))),
    make("p", { class: "fine" }, "Or drop them here: NIfTI, NRRD, MHA, PNG, or a zip of one DICOM series; one file per channel."),
    make("p", {}, make("label", {}, "Spacing of PNG, mm ", spacing)),
    make("p", {}, make("label", {}, "Token, if asked for ", make("input", { type: "password", autocomplete: "off", id: "upload-token", change: typed }))),
    state,
    result,
  );
  place.replaceChildren(section);
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener(
    "drop",
    (event) => {
      event.preventDefault();
      event.stopPropagation(); // the viewer would show the first file and send nothing
      document.getElementById("drop")?.setAttribute("hidden", "");
      if (event.dataTransfer.files.length) start(event.dataTransfer.files);
    },
    true,
  );
  describe();
  return start;
}
