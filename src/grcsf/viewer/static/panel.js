// What stands beside the picture. Text from files enters as text only: nothing here makes HTML from strings.

import { MASK_COLOURS, rampCss } from "./scene.js";

/** An element; attributes that are functions become listeners, true and false set or leave out an attribute. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map((c) => (c instanceof Node ? c : String(c))));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function showCases(list, current, choose) {
  const wanted = byId("filter").value.trim().toLowerCase();
  const rows = list.map((entry, index) => {
    if (wanted && !entry.name.toLowerCase().includes(wanted)) return null;
    const marks = [
      entry.has.includes("reference") ? el("abbr", { title: "has a reference", class: "mark reference" }, "R") : null,
      entry.has.includes("prediction") ? el("abbr", { title: "has a prediction", class: "mark prediction" }, "P") : null,
    ];
    const button = el("button", { type: "button", click: () => choose(index), "aria-current": index === current ? "true" : null }, el("span", {}, entry.name), ...marks);
    return el("li", {}, button);
  });
  byId("cases").replaceChildren(...rows.filter(Boolean));
  byId("case-count").textContent = list.length ? `${current + 1} of ${list.length}` : "";
  byId("cases").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  byId("cases-section").hidden = list.length < 2;
}

/** Rows of the overlays; on: {visible, opacity, threshold} with the overlay and its new value. */
export function showLayers(overlays, on) {
  const rows = overlays.map((overlay, index) => layerRow(overlay, index, on));
  byId("layers").replaceChildren(...(rows.length ? rows : [el("p", { class: "notes" }, "No masks or maps.")]));
}

function layerRow(overlay, index, on) {
  const name = overlay.layer.label;
  const box = el("input", { type: "checkbox", id: `layer-${index}`, checked: overlay.visible, change: (event) => on.visible(overlay, event.target.checked) });
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = overlay.layer.role === "map" ? rampCss(overlay.layer.kind, overlay.range?.signed) : `rgb(${MASK_COLOURS[overlay.layer.role][0]})`;
  const rows = [
    el("div", { class: "layer-name" }, box, swatch, el("label", { for: `layer-${index}` }, name), el("kbd", { "aria-hidden": "true" }, index < 9 ? index + 1 : "")),
    slider("Opacity", name, overlay.opacity, 0, 1, (value) => on.opacity(overlay, value), percent),
  ];
  if (overlay.range) {
    const { low, high, signed } = overlay.range;
    const text = (value) => `${signed ? "\u00b1" : ""}${number(value)}`;
    rows.push(slider("Threshold", name, overlay.threshold, low, high, (value) => on.threshold(overlay, value), text));
    const legend = el("div", { class: "legend" }, el("span", {}, signed ? number(-high) : number(low)), el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, number(high)));
    legend.querySelector(".ramp").style.background = rampCss(overlay.layer.kind, signed);
    rows.push(legend);
  }
  if (overlay.problem) rows.push(el("p", { class: "problem" }, overlay.problem));
  return el("div", { class: "layer", "data-role": overlay.layer.role, "data-kind": overlay.layer.kind }, ...rows);
}

function slider(what, name, value, low, high, change, text) {
  const shown = el("output", {}, text(value));
  const input = el("input", {
    type: "range", min: low, max: high, step: (high - low) / 100, value, "aria-label": `${what} of ${name}`, "aria-valuetext": text(value),
    input: (event) => {
      shown.textContent = text(Number(event.target.value));
      event.target.setAttribute("aria-valuetext", shown.textContent);
      change(Number(event.target.value));
    },
  });
  return el("div", { class: `slide ${what.toLowerCase()}` }, el("span", { "aria-hidden": "true" }, what), input, shown);
}

const STATES = {
  matched: ["\u2713", "matched"],
  missed: ["\u2717", "missed"],
  false: ["!", "false positive"],
  single: ["\u2022", ""],
};

export function showLesions(found, current, choose) {
  const lesions = found?.lesions ?? [];
  byId("lesion-count").textContent = found ? `${lesions.length}${found.left_out ? ` of ${lesions.length + found.left_out}` : ""}` : "";
  byId("lesion-notes").replaceChildren(...(found?.notes ?? []).map((note) => el("p", {}, note)));
  byId("lesion-scroll").hidden = !lesions.length;
  if (found && !lesions.length && !found.notes.length) byId("lesion-notes").replaceChildren(el("p", {}, "No lesion in the masks of this case."));
  if (!found) byId("lesion-notes").replaceChildren(el("p", {}, "No mask."));
  const scored = lesions.some((lesion) => lesion.score !== null);
  const head = el("tr", {}, ...["Lesion", found?.unit === "mm2" ? "mm\u00b2" : "ml", ...(scored ? ["Score"] : []), "Match"].map((text) => el("th", { scope: "col" }, text)));
  const rows = lesions.map((lesion, index) => {
    const [sign, word] = STATES[lesion.state];
    const name = `${lesion.source === "reference" ? "R" : "P"}${lesion.number} ${lesion.label}`;
    const text = `${lesion.source} lesion ${lesion.number}, ${lesion.label}, ${number(lesion.size)} ${found.unit}${word ? `, ${word}` : ""}`;
    const button = el("button", { type: "button", class: `mark-${lesion.source}`, "aria-label": `Go to ${text}`, "aria-current": index === current ? "true" : null, click: () => choose(index) }, name);
    const match = el("td", { class: `state ${lesion.state}` }, el("span", { "aria-hidden": "true" }, sign), ` ${word}`);
    return el("tr", { class: index === current ? "current" : null, click: () => choose(index) },
      el("td", {}, button), el("td", { class: "number" }, number(lesion.size)),
      scored ? el("td", { class: "number" }, lesion.score === null ? "" : lesion.score.toFixed(2)) : null, match);
  });
  byId("lesions").replaceChildren(el("thead", {}, head), el("tbody", {}, ...rows));
  byId("lesions").querySelector("tr.current")?.scrollIntoView({ block: "nearest" });
}

/** entries: [name, text] of what stands at the crosshair. */
export function showReadout(entries) {
  byId("readout").replaceChildren(...entries.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
}

export function showHelp(keys) {
  byId("keys").replaceChildren(el("tbody", {}, ...keys.map(([key, , text]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, key)), el("td", {}, text)))));
}

/** A short number: 3 digits that count, never an exponent below a million. */
export function number(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(2);
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

const percent = (value) => `${Math.round(100 * value)} %`;
