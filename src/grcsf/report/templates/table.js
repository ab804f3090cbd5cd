// The table of cases: rows come from one JSON block and are shown in pages; sorted and filtered in memory.
(() => {
  const block = document.getElementById("case-data");
  if (!block) return;
  const { rows, places } = JSON.parse(block.textContent);
  const table = document.getElementById("case-table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const nameColumn = Number(table.dataset.nameColumn);
  const isNumber = heads.map((head) => head.classList.contains("number"));
  const get = (id) => document.getElementById(id);
  const [words, column, from, to, size, status, back, next] =
    ["words", "column", "from", "to", "size", "status", "back", "next"].map((id) => get(`case-${id}`));
  const numberOf = (text) => (text === "∞" ? Infinity : text === "-" || text === "" ? NaN : Number(text));
  const numbers = rows.map((row) => row.map((cell, index) => (isNumber[index] ? numberOf(cell) : NaN)));
  const haystacks = rows.map((row) => row.filter((_, index) => !isNumber[index]).join("\n").toLowerCase());
  const collator = new Intl.Collator(undefined, { numeric: true });
  let order = rows.map((_, index) => index);
  let shown = order;
  let page = 0;

  const makeRow = (index) => {
    const line = document.createElement("tr");
    rows[index].forEach((cell, at) => {
      const box = document.createElement(at === nameColumn ? "th" : "td");
      if (at === nameColumn) box.scope = "row";
      if (isNumber[at]) box.className = "number";
      const place = at === nameColumn && Object.hasOwn(places, cell) ? places[cell] : 0;
      if (place) {
        const link = document.createElement("a");
        link.href = `#case-${place}`;
        link.textContent = cell;
        box.append(link);
      } else {
        box.textContent = cell;
      }
      line.append(box);
    });
    return line;
  };

  const perPage = () => (size.value === "all" ? Math.max(1, shown.length) : Number(size.value));
  const draw = (everything) => {
    const length = everything ? shown.length : perPage();
    const pages = Math.max(1, Math.ceil(shown.length / Math.max(1, length)));
    page = Math.min(Math.max(page, 0), pages - 1);
    const start = everything ? 0 : page * length;
    body.replaceChildren(...shown.slice(start, start + length).map(makeRow));
    const end = Math.min(start + length, shown.length);
    const of = shown.length === rows.length ? `${rows.length} rows` : `${shown.length} of ${rows.length} rows that match`;
    status.textContent = shown.length ? `Rows ${start + 1} to ${end} of ${of}` : `No row matches (of ${rows.length})`;
    back.disabled = page === 0;
    next.disabled = page >= pages - 1;
  };

  const filter = () => {
    const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const at = Number(column.value);
    const low = from.value === "" ? -Infinity : Number(from.value);
    const high = to.value === "" ? Infinity : Number(to.value);
    const bounded = from.value !== "" || to.value !== "";
    shown = order.filter(
      (index) =>
        wanted.every((word) => haystacks[index].includes(word)) &&
        (!bounded || (numbers[index][at] >= low && numbers[index][at] <= high)),
    );
    page = 0;
    draw();
  };

  const sortBy = (at) => {
    const down = heads[at].getAttribute("aria-sort") === "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    order.sort((a, b) => {
      if (!isNumber[at]) return sign * collator.compare(rows[a][at], rows[b][at]);
      const [x, y] = [numbers[a][at], numbers[b][at]];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // no value comes last
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    });
    filter();
  };

  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => sortBy(at)));
  for (const input of [words, column, from, to]) input.addEventListener("input", filter);
  size.addEventListener("input", () => { page = 0; draw(); });
  back.addEventListener("click", () => { page -= 1; draw(); });
  next.addEventListener("click", () => { page += 1; draw(); });
  get("case-clear").addEventListener("click", () => {
    for (const input of [words, from, to]) input.value = "";
    filter();
  });
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
  get("case-controls").hidden = false;
  get("case-pages").hidden = false;
  draw();
})();
