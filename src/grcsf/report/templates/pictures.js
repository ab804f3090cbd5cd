// Pictures wait in <template> elements, which browsers do not decode, until they come near the window or are printed.
(() => {
  const waiting = [...document.querySelectorAll("[data-pictures]")];
  const fill = (slot) => {
    const store = slot.querySelector("template");
    if (!store) return;
    slot.removeAttribute("data-pictures");
    slot.replaceChildren(store.content);
  };
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        watcher.unobserve(entry.target);
        fill(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  waiting.forEach((slot) => watcher.observe(slot));
  addEventListener("beforeprint", () => {
    waiting.forEach(fill);
    document.querySelectorAll("details").forEach((part) => (part.open = true));
  });
})();
