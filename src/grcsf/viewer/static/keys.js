// Which key does what; the help panel is made from the same list.

export const KEYS = [
  ["N", "nextCase", "Next case"],
  ["P", "previousCase", "Previous case"],
  [".", "nextLesion", "Next lesion"],
  [",", "previousLesion", "Previous lesion"],
  ["O", "toggleOverlays", "All overlays on or off"],
  ["1 to 9", "toggleLayer", "Overlay 1 to 9 on or off"],
  ["U", "toggleOutline", "Outlines or filled masks"],
  ["V", "nextView", "Next view"],
  ["W", "nextWindow", "Next window"],
  ["A", "autoWindow", "Window from the grey values"],
  ["X", "toggleCrosshair", "Crosshair on or off"],
  ["\u2190 \u2192 \u2191 \u2193", "move", "Move the crosshair (with the picture in focus)"],
  ["Page \u2191 \u2193", "slice", "Slice up or down"],
  ["S", "screenshot", "Save the picture as PNG"],
  ["?", "help", "These keys"],
];

const ARROWS = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0] };
const PAGES = { PageUp: [0, 0, 1], PageDown: [0, 0, -1] };

/**
 * Call actions for keys.
 * @param actions functions by the names in KEYS
 * @param canvas arrows move the crosshair while it has the focus
 * @param lettersOn whether single letters count
 */
export function listenForKeys(actions, canvas, lettersOn) {
  const letters = Object.fromEntries(KEYS.filter(([key]) => key.length === 1).map(([key, name]) => [key.toLowerCase(), name]));
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (event.target.closest?.("select, textarea, input:not([type=checkbox]):not([type=range])")) return;
      const action = choose(event, actions, canvas, letters, lettersOn());
      if (!action) return;
      event.preventDefault();
      event.stopPropagation(); // NiiVue has keys of its own
      action();
    },
    { capture: true },
  );
}

function choose(event, actions, canvas, letters, lettersOn) {
  if (ARROWS[event.key] && event.target === canvas) return () => actions.move(...ARROWS[event.key]);
  if (PAGES[event.key] && !event.target.closest?.(".scroll")) return () => actions.move(...PAGES[event.key]);
  if (!lettersOn) return null;
  if (/^[1-9]$/.test(event.key)) return () => actions.toggleLayer(Number(event.key) - 1);
  const name = letters[event.key.toLowerCase()];
  return name ? () => actions[name]() : null;
}
