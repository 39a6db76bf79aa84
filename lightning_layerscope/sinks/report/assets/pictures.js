// Pictures: Vega-Lite descriptions drawn in the page's width and colours, with rows put in as the page's choices change.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plainly = { mode: "vega-lite", actions: false, defaultStyle: false, tooltip: false };
  let printing = false;
  const drawn = new Set();

  // Of a phone: legends go below, and names are cut shorter.
  const isNarrow = (width) => width < 620;

  const config = (light) => layerscope.page.looks[light || printing || !dark.matches ? "light" : "dark"];

  // Every part of a description, with the way to it: layers in layers, rows of charts, small panels.
  function* parts(spec, name = "") {
    yield [name, spec];
    for (const kind of ["layer", "vconcat", "hconcat"]) {
      for (const [i, each] of (spec[kind] ?? []).entries())
        yield* parts(each, `${name}${kind.replace("v", "").replace("h", "")}_${i}_`);
    }
    if (spec.spec) yield* parts(spec.spec, `${name}child_`);
  }

  // Those of the rows that a description draws.
  function named(spec, datasets) {
    const names = new Set([...parts(spec)].map(([, part]) => part.data?.name));
    return Object.fromEntries(Object.entries(datasets).filter(([name]) => names.has(name)));
  }

  // Cells of whole pixels, as wide as there is room. Their rows and columns are told, for Vega would look for them anew
  // with every update.
  function fitCells(own, { cells, brackets }, width) {
    const sides = {};
    for (const side of ["x", "y"]) {
      const { field, type, sort } = own.layer[0].encoding[side];
      const names = [...new Set(cells.map((row) => row[field]))];
      sides[side] = { field, names: sort === "descending" ? names.reverse() : names, written: type === "nominal" };
    }
    for (const [, { encoding }] of parts(own)) {
      for (const side of ["x", "y"]) {
        if (encoding?.[side]?.type)
          Object.assign(encoding[side], {
            scale: { ...encoding[side].scale, domain: sides[side].names },
            sort: undefined,
          });
      }
    }
    const most = isNarrow(width) ? Math.max(12, Math.floor(width / 26)) : 44; // letters of a name
    const letters = (names) => 6.2 * Math.min(most, Math.max(0, ...names.map((name) => String(name).length)));
    if (isNarrow(width)) {
      for (const [, { mark, encoding }] of parts(own)) {
        if (mark?.type === "text") mark.limit = 6.2 * most;
        if (encoding?.y?.axis) encoding.y.axis.labelLimit = 6.2 * most;
      }
    }
    const beside = brackets?.length ? 24 + letters(brackets.map((row) => row.cluster)) : 0;
    const room = width - 34 - (sides.y.written ? letters(sides.y.names) : 24) - beside;
    own.width = {
      step: Math.max(sides.x.written ? 13 : 2, Math.min(own.width.step, Math.floor(room / sides.x.names.length))),
    };
  }

  // The description for a place of this width: without tooltips, which the page shows itself (a text per cell and update
  // costs more than the cells), and with everything inside of the width.
  function fitted(spec, { datasets, width, title }, light) {
    const own = {
      ...structuredClone(spec),
      datasets: named(spec, datasets),
      config: { ...config(light), aria: false },
    };
    if (!light) own.background = "transparent"; // the page's own
    if (title) own.title = { text: title[0], subtitle: title.slice(1) };
    for (const [, part] of parts(own)) {
      for (const channel of Object.values(part.encoding ?? {})) {
        if (channel.legend && isNarrow(width))
          Object.assign(channel.legend, { orient: "bottom", columns: 1, labelLimit: width - 60 });
      }
      if (part.encoding) delete part.encoding.tooltip;
    }
    if (typeof own.width === "number") {
      own.width = width;
      own.autosize = { type: "fit-x", contains: "padding" };
    } else if (own.width?.step && datasets.cells) {
      fitCells(own, datasets, width);
    }
    if (datasets.clusters) own.spec.width = Math.max(200, width - 90);
    return own;
  }

  function formatted(value, format) {
    if (value === null || value === undefined || value === "") return "";
    if (typeof value !== "number") return String(value);
    const digits = /\.(\d+)/.exec(format ?? "");
    if (!digits) return value.toLocaleString("en-US", { maximumFractionDigits: 4 });
    return (format.startsWith("+") && value > 0 ? "+" : "") + value.toFixed(Number(digits[1]));
  }

  // A row in the words of a description's tooltip: names and values, what is unknown left out.
  const wording = (fields, row) =>
    fields
      .map((field) => [field.title ?? field.field, formatted(row[field.field], field.format)])
      .filter(([, text]) => text !== "");

  class Picture {
    // holder: the element it goes into. what: { spec, datasets, caption, name, table } as views.js describes.
    constructor(holder, what) {
      this.holder = holder;
      holder.picture = this;
      this.what = what;
      this.width = 0;
      drawn.add(this);
      this.watcher = new ResizeObserver(() => {
        if (this.view && !this.fits) this.draw();
      });
      this.watcher.observe(holder);
    }

    get fits() {
      return this.width === Math.floor(this.holder.clientWidth);
    }

    // Where the axes meet the top, in the canvas.
    get corner() {
      const [[left, top], padding] = [this.view.origin(), this.view.padding()];
      return [left + padding.left, top + padding.top];
    }

    async draw() {
      this.width = Math.floor(this.holder.clientWidth);
      this.forget();
      const spec = fitted(this.what.spec, { datasets: this.what.datasets, width: this.width });
      this.defined = new Map(parts(this.what.spec));
      const options = { ...plainly, renderer: "canvas" };
      this.embedded = await vegaEmbed(this.holder, spec, options);
      this.view = this.embedded.view;
      this.holder.tabIndex = 0;
      this.holder.setAttribute("role", "application");
      this.holder.setAttribute("aria-roledescription", "picture, arrows walk over its values");
      this.holder.setAttribute("aria-label", this.what.label);
      layerscope.shade(this);
      this.view.addEventListener("pointermove", (event, item) => this.hover(event, item));
      this.view.addEventListener("pointerout", () => layerscope.tip.hide());
    }

    // Other rows in the same picture; drawn anew where its rows or columns are others than before.
    async update(what) {
      const same = this.view && what.shape === this.what.shape && what.spec === this.what.spec;
      this.what = what;
      if (!same) return this.draw();
      this.holder.setAttribute("aria-label", what.label);
      for (const [name, rows] of Object.entries(named(what.spec, what.datasets))) {
        if (name === "cells") this.change(rows);
        else this.view.data(name, rows);
      }
      await this.view.runAsync();
      return layerscope.shade(this);
    }

    // Cells stay, and what is in them changes: to take thousands out and put others in takes twice as long.
    change(rows) {
      if (this.own?.length !== rows.length) {
        this.own = rows.map((row) => ({ ...row }));
        this.view.data("cells", this.own);
        return;
      }
      const changes = this.view.changeset();
      const fields = Object.keys(rows[0] ?? {});
      for (const [i, own] of this.own.entries())
        for (const field of fields) if (own[field] !== rows[i][field]) changes.modify(own, field, rows[i][field]);
      this.view.change("cells", changes);
    }

    // What is under the pointer, in the words of the description's own tooltip.
    lines(event, item) {
      return item ? wording(this.fieldsOf(item), this.rowUnder(event, item)) : [];
    }

    // A line and an area are one item each, of their first row: the row nearest to the pointer is meant.
    rowUnder(event, item) {
      if (!["line", "area"].includes(item.mark.marktype) || !this.what.datasets.curves) return item.datum;
      const box = this.holder.querySelector("canvas").getBoundingClientRect();
      const layer = this.view.scale("x").invert(event.clientX - box.left - this.corner[0]);
      const own = this.what.datasets.curves.filter((row) => row.series === item.datum.series);
      return own.reduce((near, row) => (Math.abs(row.layer - layer) < Math.abs(near.layer - layer) ? row : near));
    }

    // The description's own words for a value.
    get spoken() {
      const said = (this.what.spec.layer ?? []).map((each) => each.encoding?.tooltip);
      return said.find((each) => each?.some(({ field }) => field === "value")) ?? [];
    }

    fieldsOf(item) {
      if (["line", "area"].includes(item.mark.marktype)) return this.spoken;
      const name = item.mark?.name?.replace(/(marks|pathgroup|group)$/, "") ?? "";
      const key = [...this.defined.keys()]
        .filter((each) => each && name.startsWith(each))
        .sort((a, b) => b.length - a.length)[0];
      const tooltip = this.defined.get(key ?? "")?.encoding?.tooltip;
      return Array.isArray(tooltip) ? tooltip : tooltip ? [tooltip] : [];
    }

    hover(event, item) {
      const lines = this.lines(event, item);
      if (lines.length) layerscope.tip.show(lines, event.clientX, event.clientY);
      else layerscope.tip.hide();
    }

    // A view of its own, in light colours and with a title, for files.
    async file(kind) {
      // A figure that has a title of its own keeps it in its file; on the page it stands above.
      const { titled, datasets, name, below } = this.what;
      const title = titled ? null : [name, ...(below ?? [])];
      const spec = fitted(titled ?? this.what.spec, { datasets, width: Math.max(this.width, 720), title }, true);
      const { view, finalize } = await vegaEmbed(document.createElement("div"), spec, { ...plainly, renderer: "svg" });
      try {
        if (kind === "svg") return new Blob([await view.toSVG()], { type: "image/svg+xml" });
        const canvas = await view.toCanvas(2);
        return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
      } finally {
        finalize();
      }
    }

    // What the keyboard stands on: the row, in the description's words, and where it is in the holder.
    place(x, y, row) {
      const middle = (scale, value) => scale(value) + (scale.bandwidth ? scale.bandwidth() / 2 : 0);
      const [left, top] = this.corner;
      return {
        lines: wording(this.spoken, row),
        x: left + middle(this.view.scale("x"), x),
        y: top + middle(this.view.scale("y"), y),
      };
    }

    forget() {
      this.embedded?.finalize();
      this.embedded = this.view = this.own = null;
    }

    remove() {
      this.watcher.disconnect();
      this.forget();
      drawn.delete(this);
    }
  }

  const redraw = () => Promise.all([...drawn].filter((each) => each.view).map((each) => each.draw()));
  dark.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    printing = true;
    redraw();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    redraw();
  });

  Object.assign(layerscope, { Picture, formatted });
})();
