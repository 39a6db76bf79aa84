// What each section shows for the page's choices: descriptions with their rows.
(() => {
  const { cellRows, clusterRows, clusterCurves, definedMean, meanRows, meanIntervals, plain } = layerscope;

  const step = () => layerscope.steps[layerscope.state.step];
  const shown = (lines) => lines.filter((line) => !layerscope.state.hidden.has(line.task));
  const measureOf = () => layerscope.measures.find((each) => each.key === layerscope.state.measure);

  // Which measurement of a run, or which of both runs of a difference, belongs to a step.
  const at = (run, when) =>
    run.first ? [run.first.measurementAt(when), run.second.measurementAt(when)] : run.measurementAt(when);

  // The step of what is shown in words: "step 40"; of a difference both, where they are not the same.
  function when(run, measurement) {
    if (!run.first) return run.when[measurement];
    const words = [run.second.when[measurement[1]], run.first.when[measurement[0]]];
    return words[0] === words[1] ? words[0] : words.map((each) => each || "its only measurement").join(" − ");
  }

  const joined = (...words) => words.filter(Boolean).join(", ");

  // Says that values lie beyond the colours, which they keep the last of.
  function beyond(rows, [low, high]) {
    const has = (test) => rows.some(({ value }) => value !== null && test(value));
    return joined(
      has((value) => value < low - 1e-6) && `values below ${low} have the colour of ${low}`,
      has((value) => value > high + 1e-6) && `values above ${high} have the colour of ${high}`,
    );
  }

  function linesAt(run, measurement = at(run, step())) {
    const lines = run.lines(layerscope.state.measure, measurement);
    return lines && shown(lines);
  }

  // Lowest and highest of what a function gives for every measurement, remembered for the same choices.
  const extremes = new Map();
  function extent(name, run, values) {
    const { measure, hidden, layers } = layerscope.state;
    const key = JSON.stringify([name, run.name, measure, [...hidden], layers]);
    if (!extremes.has(key)) {
      let [low, high] = [Infinity, -Infinity];
      for (const each of run.first ? layerscope.steps : run.steps) {
        for (const value of values(at(run, each))) {
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
      extremes.set(key, low <= high ? [low, high] : [0, 1]);
    }
    return extremes.get(key);
  }

  // What does not depend on the measurement, made once for the same choices.
  const kept = new Map();
  function remembered(name, make) {
    return () => {
      const { measure, hidden, layers, own } = layerscope.state;
      const key = JSON.stringify([measure, [...hidden], layers, own]);
      if (kept.get(name)?.key !== key) kept.set(name, { key, pictures: make() });
      return kept.get(name).pictures;
    };
  }

  const symmetric = ([low, high]) => {
    const most = Math.max(Math.abs(low), Math.abs(high)) || 0.001;
    return [-most, most];
  };

  const finite = (row) => [row.value, row.low ?? row.value, row.high ?? row.value].filter((value) => value !== null);

  function cellLimits(run) {
    const own = () => extent("cells", run, (m) => (linesAt(run, m) ?? []).flatMap((line) => [...line.value]));
    if (run.first) return symmetric(own());
    const { state } = layerscope;
    return state.own ? own() : run.measure(state.measure).range;
  }

  // The axis of a curve: from a round number below the lowest mean to a little above the highest.
  function curveLimits(runs) {
    const ends = runs.map((run) =>
      extent("means", run, (m) => {
        const lines = linesAt(run, m);
        return lines ? meanRows(run, lines, "").flatMap(finite) : [];
      }),
    );
    const low = Math.min(...ends.map((each) => each[0]));
    const high = Math.max(...ends.map((each) => each[1]));
    if (runs[0].first) {
      const [least, most] = [Math.min(0, low), Math.max(0, high)];
      const margin = 0.06 * (most - least) || 0.01;
      return [least - margin, most + margin];
    }
    const range = measureOf().range;
    const margin = 0.04 * (high - low || 0.02);
    if (range[0] !== 0 || range[1] !== 1) return [low - margin, high + margin];
    const floor = [0.99, 0.95, 0.9, 0.8, 0.5, 0].find((each) => low >= each) ?? Math.floor(low * 10) / 10;
    return [floor, Math.max(1, high) + 0.03 * (Math.max(1, high) - floor)];
  }

  const title = (run) => (run.first ? `difference in ${measureOf().title}` : measureOf().title);
  const several = () => layerscope.runs.length > 1;
  const named = (run) => (several() ? run.name : "");

  // Over the layers: every run in one picture where they are of one depth; beside a run's own its first measurement.
  function curves() {
    const { runs } = layerscope;
    const known = runs.filter((run) => run.measure(layerscope.state.measure));
    const groups = known.every((run) => run.depth === known[0].depth) ? [known] : known.map((run) => [run]);
    return groups.filter((group) => group.length).map((group) => curvePicture(group));
  }

  function curvePicture(group) {
    const single = group.length === 1 && !several();
    const rows = group.flatMap((run) => {
      const now = at(run, step());
      const name = joined(named(run), when(run, now)) || title(run);
      const own = meanRows(run, linesAt(run, now), name);
      const first = single && now > 0 ? meanRows(run, linesAt(run, 0), joined("first", when(run, 0))) : [];
      return [...own, ...first];
    });
    const cut = group.length === 1 && !group[0].first && group[0].cuts[at(group[0], step())];
    const headline = cut && measureOf().key === group[0].measures[0].key;
    return {
      kind: group[0].first ? "difference" : "curve",
      run: group[0],
      name: `${capital(title(group[0]))} per layer, mean over ${shownTasks(group[0])}`,
      limits: curveLimits(group),
      value: `${title(group[0])}, mean over tasks`,
      datasets: { curves: rows, parts: headline ? partRows(cut) : [], boundaries: headline ? boundaryRows(cut) : [] },
      table: "curves",
      shape: JSON.stringify(group.map((run) => run.name)),
    };
  }

  function shownTasks(run) {
    const count = run.tasks.filter((task) => !layerscope.state.hidden.has(task)).length;
    return `${count === run.tasks.length ? "" : `${count} of `}${run.tasks.length} ${run.tasks.length === 1 ? "task" : "tasks"}`;
  }

  const capital = (text) => text[0].toUpperCase() + text.slice(1);

  function partRows({ found, kind, parts }) {
    if (!found) return [];
    const name = (part) => (part === "transition" ? kind : part);
    return Object.entries(parts).map(([part, [start, end]]) => ({
      part: name(part),
      changes: part === "transition",
      start,
      end,
    }));
  }

  function boundaryRows({ found, kind, parts, start, end, confidence }) {
    if (!found || !start || !end) return [];
    const row = (word, layer, [low, high], shift) => ({
      boundary: `${word} of the ${kind}`,
      first: word === "start",
      layer: layer + shift,
      low: low + shift,
      high: high + shift,
      confidence: `${Math.round(100 * confidence)}%`,
    });
    return [row("start", parts.transition[0], start, -0.5), row("end", parts.transition[1], end, 0.5)];
  }

  // Below the curves: one line per cluster.
  function clusters() {
    return known().flatMap((run) => {
      const lines = linesAt(run);
      const rows = clusterCurves(run, lines, joined(named(run), when(run, at(run, step()))) || title(run));
      if (!rows.length) return [];
      const every = meanRows(run, lines, rows[0].series).map(({ series, layer, value }) => ({
        series,
        cluster: "all tasks",
        layer,
        value,
        every: true,
      }));
      return [
        {
          kind: "clusters",
          run,
          name: joined(`${capital(title(run))} per layer, mean of each cluster`, named(run)),
          limits: curveLimits([run]),
          value: title(run),
          datasets: { clusters: [...rows.map((row) => ({ ...row, every: false })), ...every] },
          table: "clusters",
          shape: JSON.stringify([...new Set(rows.map((row) => row.cluster))]),
        },
      ];
    });
  }

  const known = () => layerscope.runs.filter((run) => run.measure(layerscope.state.measure));
  const comparable = () =>
    layerscope.differences.filter((pair) => !pair.reason && pair.measure(layerscope.state.measure));

  function tasks() {
    return [...known(), ...comparable()].map((run) => {
      const now = at(run, step());
      const lines = linesAt(run, now);
      const cells = cellRows(run, lines, layerscope.layerShown);
      const cut = run.first ? null : run.cuts[now];
      const inside = new Set(cells.map((row) => row.layer));
      const parts = cut ? partRows(cut).filter(({ start, end }) => inside.has(start) && inside.has(end)) : [];
      return heat("cells", run, now, {
        name: `${capital(title(run))} per layer and task`,
        datasets: { cells, brackets: clusterRows(lines), parts },
        shape: JSON.stringify([lines.map((line) => line.task), [...inside], parts.length > 0]),
      });
    });
  }

  function heat(kind, run, now, rest) {
    const limits = rest.limits ?? cellLimits(run);
    return {
      kind: run.first ? `${kind}-difference` : kind,
      run,
      value: title(run),
      table: "cells",
      caption: joined(named(run), now === null ? "" : when(run, now), beyond(rest.datasets.cells, limits)),
      ...rest,
      limits,
    };
  }

  // Layer by step: the mean over tasks at every measurement.
  function training() {
    return [...known(), ...comparable()].flatMap((run) => {
      const steps = run.first ? run.second.steps : run.steps;
      if (steps.length < 2) return [];
      const cells = steps.flatMap((each) =>
        meanRows(run, linesAt(run, at(run, each)), "")
          .filter((row) => layerscope.layerShown(row.depth))
          .map(({ layer, value, tasks: count }) => ({
            step: each,
            layer,
            value,
            reason: count ? "" : "no task has a value there",
          })),
      );
      const limits = run.first
        ? symmetric(
            extent("means", run, (m) =>
              meanRows(run, linesAt(run, m), "").flatMap((row) => (row.value === null ? [] : [row.value])),
            ),
          )
        : cellLimits(run);
      return [
        heat("steps", run, null, {
          name: `${capital(title(run))} per layer over training, mean over ${shownTasks(run)}`,
          datasets: { cells, brackets: [], parts: [] },
          limits,
          shape: JSON.stringify([steps, cells.length]),
        }),
      ];
    });
  }

  Object.assign(layerscope, {
    views: {
      curves,
      clusters,
      tasks,
      training: remembered("training", training),
      differences: () => comparable().map((pair) => curvePicture([pair])),
    },
  });
  Object.assign(layerscope, {
    viewParts: {
      at,
      step,
      when,
      joined,
      named,
      several,
      linesAt,
      beyond,
      heat,
      capital,
      curveLimits,
      measureOf,
      symmetric,
      title,
      known,
      shownTasks,
      finite,
      remembered,
    },
  });
})();
