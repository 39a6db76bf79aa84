// Pictures by keyboard: arrows walk over the cells of a heatmap or the points of curves, and say what is there.
(() => {
  const places = new WeakMap(); // picture -> [column, row]
  const mark = document.createElement("div");
  mark.className = "cursor";

  // Columns and rows to walk over, and which row of the data stands at a crossing.
  function field({ what }) {
    const rows = what.datasets[what.table];
    const distinct = (name) => [...new Set(rows.map((row) => row[name]))];
    if (what.datasets.curves) {
      const [layers, series] = [distinct("layer"), distinct("series")];
      const find = (i, j) => rows.find((row) => row.layer === layers[i] && row.series === series[j]);
      return { columns: layers, lines: series, find, ends: (row) => [row.layer, row.value] };
    }
    const { x, y } = what.spec.layer?.[0].encoding ?? {};
    if (!x || !y) return null;
    const names = { columns: distinct(x.field), lines: distinct(y.field) };
    if (y.sort === "descending") names.lines.reverse();
    const known = new Map(rows.map((row) => [`${row[x.field]}\n${row[y.field]}`, row]));
    const find = (i, j) => known.get(`${names.columns[i]}\n${names.lines[j]}`);
    return { ...names, find, ends: (row) => [row[x.field], row[y.field]] };
  }

  function walk(holder, event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { picture } = holder;
    const walked = by && picture?.view && field(picture);
    if (!walked) return;
    event.preventDefault();
    const within = (place, names) => Math.min(names.length - 1, Math.max(0, place));
    const [column, line] = places.get(picture) ?? [-by[0], -by[1]];
    const now = [within(column + by[0], walked.columns), within(line + by[1], walked.lines)];
    places.set(picture, now);
    const row = walked.find(...now);
    if (!row) return;
    const [x, y] = walked.ends(row);
    const { lines, ...at } = picture.place(x, y, row);
    Object.assign(mark.style, { left: `${at.x}px`, top: `${at.y}px` });
    mark.hidden = Number.isNaN(at.y);
    holder.append(mark);
    const box = holder.getBoundingClientRect();
    layerscope.tip.show(lines, box.left + at.x - holder.scrollLeft, box.top + at.y);
    document.getElementById("spoken").textContent = lines.map((each) => each.join(" ")).join(", ");
  }

  function leave() {
    mark.remove();
    layerscope.tip.hide();
  }

  document.addEventListener("keydown", (event) => {
    const holder = event.target.closest(".picture");
    if (!holder) return;
    if (event.key === "Escape") leave();
    else walk(holder, event);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.closest(".picture")) leave();
  });
  layerscope.onChange(leave);
})();
