// The tables: task by task, every value, and where each signal changes.
(() => {
  const { definedMean, viewParts } = layerscope;
  const at = (id) => document.getElementById(id);
  const number = (value, signed = false) => {
    if (Number.isNaN(value)) return { text: "undefined", sort: -1e9, number: true };
    return { text: (signed && value > 0 ? "+" : "") + value.toFixed(3), sort: value, number: true };
  };

  function cell({ text, sort, number: numeric, share, why }, first) {
    const made = document.createElement(first ? "th" : "td");
    if (first) made.scope = "row";
    if (numeric) made.className = "number";
    made.dataset.sort = sort ?? text;
    if (share !== undefined) {
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.setProperty("--share", share.toFixed(3));
      made.append(bar);
    }
    if (why) made.title = why;
    if (why && text === "undefined") made.classList.add("undefined");
    made.append(text);
    return made;
  }

  function fill(table, heads, rows) {
    const names = heads.map(({ text }) => text);
    const head = table.tHead.rows[0];
    if ([...head.cells].map((each) => each.textContent).join("\n") !== names.join("\n")) {
      head.replaceChildren(
        ...heads.map(({ text, number: numeric }) => {
          const made = document.createElement("th");
          made.scope = "col";
          made.textContent = text;
          if (numeric) made.className = "number";
          return made;
        }),
      );
      if (table.classList.contains("sortable")) layerscope.makeSortable(table);
    }
    table.tBodies[0].replaceChildren(
      ...rows.map((row) => {
        const line = document.createElement("tr");
        line.append(...row.map((each, i) => cell(each, i === 0)));
        return line;
      }),
    );
    if (table.classList.contains("sortable")) layerscope.sortAgain(table);
  }

  // One line per task: mean over the chosen layers, lowest value, means of the parts, change since the first
  // measurement; beside several runs their means and differences.
  function taskTable() {
    const { state, runs } = layerscope;
    const found = runs.filter((run) => run.measure(state.measure));
    const one = runs.length === 1;
    const columns = found.flatMap((run) => runColumns(run, one));
    const pairs = layerscope.differences.filter((pair) => !pair.reason && pair.measure(state.measure));
    for (const pair of pairs) {
      const lines = new Map(viewParts.linesAt(pair).map((line) => [line.task, line]));
      const kept = (line) => line.value.filter((_, i) => layerscope.layerShown(pair.depths[i]));
      columns.push({
        text: pair.name,
        number: true,
        of: (task) => (lines.has(task) ? number(definedMean(kept(lines.get(task))), true) : number(NaN)),
      });
    }
    const clusters = new Map(found.flatMap((run) => run.tasks.map((task, i) => [task, run.clusters[i]])));
    const rows = [...clusters]
      .filter(([task]) => !state.hidden.has(task))
      .map(([task, cluster]) => [{ text: task }, { text: cluster }, ...columns.map((column) => column.of(task))]);
    fill(at("task-table"), [{ text: "task" }, { text: "cluster" }, ...columns], rows);
    const layerWords = layerscope.layerWords(runs[0]);
    const uneven = pairs.some((pair) => pair.byDepth);
    at("table-when").textContent = [
      ...found.map((run) =>
        [one ? "" : run.name, viewParts.when(run, viewParts.at(run, viewParts.step()))].filter(Boolean).join(": "),
      ),
      layerWords && uneven ? `${layerWords} of ${runs[0].name}, and equal depths of the others` : layerWords,
      uneven && "differences are of equal depths, where those of the run with more layers are interpolated",
    ]
      .filter(Boolean)
      .join("; ");
    layerscope.filterAgain(at("task-table"));
  }

  function runColumns(run, one) {
    const now = viewParts.at(run, viewParts.step());
    const lines = new Map(viewParts.linesAt(run, now).map((line) => [line.task, line]));
    const places = run.layers.flatMap((_, i) => (layerscope.layerShown(run.depths[i]) ? [i] : []));
    const [low, high] = run.measure(layerscope.state.measure).range;
    const mean = (line, kept = places) => definedMean(kept.map((i) => line.value[i]));
    const column = (text, of, numeric = true) => ({
      text,
      number: numeric,
      of: (task) => (lines.has(task) ? of(lines.get(task)) : number(NaN)),
    });
    const share = (value) => (Number.isNaN(value) ? 0 : Math.min(1, Math.max(0, (value - low) / (high - low))));
    const main = column(one ? "mean over layers" : `${run.name}: mean`, (line) => ({
      ...number(mean(line)),
      share: share(mean(line)),
    }));
    if (!one) return [main];
    const least = (line) =>
      places.reduce(
        (best, i) => (line.value[i] < line.value[best] || Number.isNaN(line.value[best]) ? i : best),
        places[0],
      );
    const cut = run.cuts[now];
    const parts = Object.entries(cut.found ? cut.parts : {}).map(([part, [start, end]]) => {
      const kept = run.layers.flatMap((layer, i) => (layer >= start && layer <= end ? [i] : []));
      return column(part, (line) => number(mean(line, kept)));
    });
    const change = [];
    if (now > 0) {
      const first = new Map(viewParts.linesAt(run, 0).map((line) => [line.task, line]));
      change.push(
        column(`change since ${run.when[0] || "the first"}`, (line) =>
          number(definedMean(places.map((i) => line.value[i] - first.get(line.task).value[i])), true),
        ),
      );
    }
    return [
      main,
      column("lowest", (line) => number(line.value[least(line)])),
      column("at layer", (line) => {
        const i = least(line);
        const none = Number.isNaN(line.value[i]);
        return { text: none ? "" : String(run.layers[i]), sort: none ? -1 : run.layers[i], number: true };
      }),
      ...parts,
      ...change,
    ];
  }

  // Every value with its reason; made when it is opened, for it is long.
  function valueTables() {
    if (!at("values").open) return;
    const runs = layerscope.runs.filter((run) => run.measure(layerscope.state.measure));
    at("value-tables").replaceChildren(
      ...runs.map((run) => {
        const now = viewParts.at(run, viewParts.step());
        const table = document.createElement("table");
        table.className = "values";
        table.createTHead().insertRow();
        table.createTBody();
        table.createCaption().textContent = [viewParts.title(run), viewParts.named(run), run.when[now]]
          .filter(Boolean)
          .join(", ");
        const rows = viewParts
          .linesAt(run, now)
          .map((line) => [
            { text: line.task },
            ...run.layers.map((_, i) => ({ ...number(line.value[i]), why: bounds(line, i) })),
          ]);
        fill(table, [{ text: "task" }, ...run.layers.map((layer) => ({ text: String(layer), number: true }))], rows);
        const box = document.createElement("div");
        box.className = "scroll";
        box.append(table);
        return box;
      }),
    );
  }

  const bounds = (line, i) =>
    line.why[i] || (Number.isNaN(line.low[i]) ? "" : `${line.low[i].toFixed(3)} to ${line.high[i].toFixed(3)}`);

  // The cut in words, and where each signal changes.
  function cuts() {
    const boxes = layerscope.runs.map((run) => {
      const now = viewParts.at(run, viewParts.step());
      const cut = run.cuts[now];
      const box = document.createElement("div");
      const words = document.createElement("p");
      words.textContent = [[viewParts.named(run), run.when[now]].filter(Boolean).join(", "), cut.text]
        .filter(Boolean)
        .join(": ");
      box.append(words);
      if (cut.signals.length) {
        const table = document.createElement("table");
        table.createTHead().insertRow();
        table.createTBody();
        const span = (ends) => (ends ? (ends[0] === ends[1] ? String(ends[0]) : `${ends[0]} to ${ends[1]}`) : "");
        const interval = `${Math.round(100 * cut.confidence)} % interval`;
        const heads = ["signal", "starts at layer", interval, "ends at layer", interval, "why there is none"].map(
          (text) => ({ text }),
        );
        const rows = cut.signals.map((each) =>
          [
            each.name,
            each.start ?? "",
            span(each.start_interval),
            each.end ?? "",
            span(each.end_interval),
            each.reason,
          ].map((text) => ({ text: String(text) })),
        );
        fill(table, heads, rows);
        const scroll = document.createElement("div");
        scroll.className = "scroll";
        scroll.append(table);
        box.append(scroll);
      }
      return box;
    });
    at("cuts-list").replaceChildren(...boxes);
  }

  function scores() {
    const { heads, rows } = layerscope.scoreTable();
    fill(at("scores-table"), heads, rows);
    layerscope.filterAgain(at("scores-table"));
  }

  layerscope.startTables = () => {
    layerscope.keep(at("cuts"), cuts);
    if (!at("task-table")) return; // a study has a table of its own
    at("values").addEventListener("toggle", valueTables);
    if (at("scores")) layerscope.keep(at("scores"), scores);
    layerscope.keep(at("table"), () => [taskTable, valueTables].forEach((each) => each()));
  };
})();
