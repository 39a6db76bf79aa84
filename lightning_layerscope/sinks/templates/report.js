// Tooltips over heatmaps and sortable tables. The report is complete without it.
(() => {
  const tip = document.getElementById("tip");
  const shown = (value) => (value === null || value === undefined ? "undefined" : value.toFixed(3));

  for (const holder of document.querySelectorAll("[data-cells]")) {
    const source = document.getElementById(holder.dataset.cells);
    const svg = holder.querySelector("svg");
    if (!source || !svg) continue;
    const cells = JSON.parse(source.textContent);
    const [left, top, width, height] = cells.box;
    holder.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width - left) / width;
      const y = ((event.clientY - box.top) / box.height - top) / height;
      tip.hidden = x < 0 || x >= 1 || y < 0 || y >= 1;
      if (tip.hidden) return;
      const row = Math.floor(y * cells.rows.length);
      const column = Math.floor(x * cells.columns.length);
      let text = `${cells.rows[row]} · ${cells.columns[column]}\n${shown(cells.value[row][column])}`;
      if (cells.low && cells.low[row][column] !== null && cells.high[row][column] !== null) {
        text += `  (interval ${shown(cells.low[row][column])} to ${shown(cells.high[row][column])})`;
      }
      tip.textContent = text;
      const right = event.clientX + 16 + tip.offsetWidth > window.innerWidth;
      tip.style.left = `${right ? event.clientX - 12 - tip.offsetWidth : event.clientX + 16}px`;
      tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 10)}px`;
    });
    holder.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const numeric = body.rows[0].cells[column].classList.contains("number");
        const key = (row) => row.cells[column].dataset.sort;
        const order = (a, b) => (numeric ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
        body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
      });
    });
  }
})();
