// Puts a section's pictures on the page: those in sight are kept up to date, the others when they come into sight.
(() => {
  const { Picture } = layerscope;
  const sections = new Map(); // element -> { view, pictures, stale }
  const inSight = new Set();

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
        return part && typeof part === "object" ? Object.fromEntries(Object.entries(part).map(([name, each]) => [name, fill(each)])) : part;
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

  const fileName = (what, suffix) => `${[what.name, what.caption].filter(Boolean).join(" ").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 100)}.${suffix}`;

  function csv(rows) {
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      // A name that begins like a formula stays a name where a spreadsheet opens the file.
      const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((line) => line.map(cell).join(",")).join("\r\n");
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
    const image = (kind) => async () => save(await picture.file(kind), fileName(picture.what, kind));
    tools.append(
      button("PNG", "Save this picture as PNG", image("png")),
      button("SVG", "Save this picture as SVG", image("svg")),
      button("CSV", "Save this picture's values as CSV", () => save(new Blob([csv(picture.what.datasets[picture.what.table])], { type: "text/csv" }), fileName(picture.what, "csv"))),
    );
    caption.append(words, tools);
    box.append(caption, holder);
    return { box, words, picture };
  }

  async function refresh(section) {
    const known = sections.get(section);
    known.stale = false;
    const wanted = known.view().map((what) => ({ ...what, spec: describe(what), caption: what.caption ?? "" }));
    section.hidden = wanted.length === 0;
    const list = section.querySelector(".pictures");
    while (known.figures.length > wanted.length) {
      const gone = known.figures.pop();
      gone.picture.remove();
      gone.box.remove();
    }
    for (const [i, what] of wanted.entries()) {
      const label = [what.name, what.caption].filter(Boolean).join(": ");
      const whole = { ...what, label, below: [what.caption].filter(Boolean) };
      if (!known.figures[i]) {
        known.figures[i] = figure(whole);
        list.append(known.figures[i].box);
      }
      known.figures[i].words.textContent = label;
      known.figures[i].box.classList.toggle("wide", what.kind === "curve" || what.kind === "over-steps");
      await known.figures[i].picture.update(whole);
    }
  }

  let busy = null;
  let again = false;
  // One pass after the other: a slider that moves faster than pictures can be drawn skips what lies between.
  async function refreshAll() {
    if (busy) {
      again = true;
      return busy;
    }
    busy = (async () => {
      do {
        again = false;
        for (const section of sections.keys()) if (inSight.has(section)) await refresh(section);
      } while (again);
    })();
    await busy;
    busy = null;
    return null;
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) inSight.add(target);
        else inSight.delete(target);
        if (isIntersecting && sections.get(target).stale) refresh(target);
      }
    },
    { rootMargin: "150px" },
  );

  function show(section, view) {
    sections.set(section, { view, figures: [], stale: true });
    section.hidden = view().length === 0;
    watcher.observe(section);
  }

  layerscope.onChange(() => {
    for (const [section, known] of sections) {
      known.stale = true;
      if (section.hidden) section.hidden = known.view().length === 0;
    }
    refreshAll();
  });

  // Everything drawn, for paper.
  window.addEventListener("beforeprint", () => {
    for (const section of sections.keys()) inSight.add(section);
    refreshAll();
  });

  Object.assign(layerscope, { showSection: show, csv, refreshAll, sections });
})();
