// Puts a section's pictures on the page, each with its files to save.
(() => {
  const { Picture } = layerscope;

  // A description with its blanks filled in: what the value is called, and its limits.
  const filled = new Map();
  function describe({ kind, run, value, limits, domain }) {
    const key = JSON.stringify([kind, run.name, value, limits, domain]);
    if (!filled.has(key)) {
      const { blanks } = layerscope.page;
      const fill = (part) => {
        if (typeof part === "string") return part.replaceAll(blanks.value, value);
        if (Array.isArray(part)) {
          if (part.length === 2 && part[0] === blanks.limits[0]) return limits;
          if (part.length === 2 && part[0] === blanks.domain[0]) return domain;
          return part.map(fill);
        }
        return part && typeof part === "object"
          ? Object.fromEntries(Object.entries(part).map(([name, each]) => [name, fill(each)]))
          : part;
      };
      const base = run.first ? run.base : run;
      filled.set(key, fill(layerscope.page.descriptions[layerscope.runs.indexOf(base)][kind]));
    }
    return filled.get(key);
  }

  function button(text, title, action) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.title = title;
    made.setAttribute("aria-label", title);
    made.addEventListener("click", action);
    return made;
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const fileName = (what, suffix) =>
    `${[what.name, what.caption]
      .filter(Boolean)
      .join(" ")
      .replace(/[^\p{L}\p{N}]+/gu, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 100)}.${suffix}`;

  function csv(rows) {
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      // A name that begins like a formula stays a name where a spreadsheet opens the file.
      const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
      .map((line) => line.map(cell).join(","))
      .join("\r\n");
  }

  function figure(what) {
    const box = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const words = document.createElement("span");
    const tools = document.createElement("span");
    tools.className = "tools";
    const holder = document.createElement("div");
    holder.className = "picture";
    const picture = new Picture(holder, what);
    layerscope.brushCurve(holder);
    const image = (kind) => async () => save(await picture.file(kind), fileName(picture.what, kind));
    tools.append(
      button("PNG", "Save this picture as PNG", image("png")),
      button("SVG", "Save this picture as SVG", image("svg")),
      button("CSV", "Save this picture's values as CSV", () =>
        save(
          new Blob([csv(picture.what.datasets[picture.what.table])], { type: "text/csv" }),
          fileName(picture.what, "csv"),
        ),
      ),
    );
    caption.append(words, tools);
    box.append(caption, holder);
    return { box, words, picture };
  }

  async function update(section, view, figures) {
    const wanted = view();
    section.hidden = wanted.length === 0;
    while (figures.length > wanted.length) {
      const gone = figures.pop();
      gone.picture.remove();
      gone.box.remove();
    }
    for (const [i, what] of wanted.entries()) {
      if (figures[i]?.what === what) continue;
      const label = [what.name, what.caption].filter(Boolean).join(": ");
      const whole = { ...what, spec: describe(what), label, below: [what.caption].filter(Boolean) };
      if (!figures[i]) {
        figures[i] = figure(whole);
        section.querySelector(".pictures").append(figures[i].box);
      }
      figures[i].what = what;
      figures[i].words.textContent = label;
      figures[i].box.classList.toggle("wide", what.kind === "curve" || what.kind === "over-steps");
      await figures[i].picture.update(whole);
    }
  }

  function show(section, view) {
    const figures = [];
    section.hidden = view().length === 0;
    layerscope.keep(section, () => update(section, view, figures));
    // What is hidden never comes into sight.
    layerscope.onChange(() => {
      if (section.hidden) section.hidden = view().length === 0;
    });
  }

  Object.assign(layerscope, { showSection: show, makeFigure: figure });
})();
