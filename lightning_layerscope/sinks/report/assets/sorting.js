// Tables that sort by a click on a heading and show the lines with a text, on every page.
(() => {
  function sort(table, column, down) {
    const heads = [...table.tHead.rows[0].cells];
    for (const other of heads) other.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const numeric = body.rows[0]?.cells[column].classList.contains("number");
    const key = (row) => row.cells[column].dataset.sort;
    const order = (a, b) => (numeric ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
    body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => sort(table, column, head.getAttribute("aria-sort") === "ascending"));
    });
  }

  // The same order as before, of other lines.
  function sortAgain(table) {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    if (column >= 0) sort(table, column, heads[column].getAttribute("aria-sort") === "descending");
  }

  // Hides lines whose name or group is without the text, and says how many are left.
  function filter(input) {
    const text = input.value.trim().toLowerCase();
    const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
    for (const row of rows) {
      row.hidden = ![row.cells[0], row.cells[1]].some((each) => each.textContent.toLowerCase().includes(text));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    input.parentElement.querySelector("output").textContent = text ? `${shown} of ${rows.length} lines` : "";
  }

  function filterAgain(table) {
    for (const input of document.querySelectorAll(`[data-filters="${table.id}"]`)) filter(input);
  }

  for (const input of document.querySelectorAll("[data-filters]")) input.addEventListener("input", () => filter(input));
  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);

  Object.assign(layerscope, { makeSortable, sortAgain, filterAgain });
})();
