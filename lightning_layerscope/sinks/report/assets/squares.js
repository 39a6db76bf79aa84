// Layer by layer and task by task: what is alike within a model.
(() => {
  const { plain, viewParts } = layerscope;
  const { at, beyond, step, joined, named, when } = viewParts;

  const difference = (one, two) => one.map((row, i) => row.map((value, j) => value - two[i][j]));

  const UNDEFINED = {
    layer: "undefined",
    task: "a task mean lies hardly farther from the grand mean than its noise",
  };

  function cells(matrix, names, kept, what) {
    return kept.flatMap((i) =>
      kept.map((j) => ({
        [what]: names[i],
        other: names[j],
        value: plain(matrix[i][j]),
        reason: Number.isNaN(matrix[i][j]) ? UNDEFINED[what] : "",
      })),
    );
  }

  const places = (names, keep) => names.flatMap((name, i) => (keep(name, i) ? [i] : []));

  function square(kind, run, now, { matrix, names, kept, limits, value, name, what, brackets }) {
    const rows = cells(matrix, names, kept, what);
    return {
      kind: run.first ? `${kind}-difference` : kind,
      run,
      name,
      value: run.first ? `difference in ${value}` : value,
      limits,
      table: "cells",
      caption: joined(named(run), when(run, now), beyond(rows, limits)),
      datasets: {
        cells: rows,
        brackets: brackets ?? [],
        parts: [],
      },
      shape: JSON.stringify([what, kept.length === names.length ? "all" : kept]),
    };
  }

  const within = (matrix, kept) => {
    let most = 0;
    for (const i of kept) for (const j of kept) if (Math.abs(matrix[i][j]) > most) most = Math.abs(matrix[i][j]);
    return [-(most || 0.001), most || 0.001];
  };

  function neighbours() {
    const matrixOf = (run, now) => run.square(run.neighbours, now, run.layers.length);
    const has = (run) => run.neighbours !== null;
    const pairs = layerscope.differences.filter(
      (pair) => !pair.reason && !pair.byDepth && has(pair.first) && has(pair.second),
    );
    return [...layerscope.runs.filter(has), ...pairs].map((run) => {
      const now = at(run, step());
      const matrix = run.first
        ? difference(matrixOf(run.second, now[1]), matrixOf(run.first, now[0]))
        : matrixOf(run, now);
      const kept = places(run.layers, (_, i) => layerscope.layerShown(run.depths[i]));
      const limits = run.first ? within(matrix, kept) : layerscope.state.own ? spread(matrix, kept) : [0, 1];
      return square("layers", run, now, {
        matrix,
        names: run.layers,
        kept,
        limits,
        value: "CKA between layers",
        what: "layer",
        name: run.first ? "Difference in CKA between layers, mean over tasks" : "CKA between layers, mean over tasks",
      });
    });
  }

  function spread(matrix, kept) {
    const values = kept
      .flatMap((i) => kept.filter((j) => j !== i).map((j) => matrix[i][j]))
      .filter((value) => !Number.isNaN(value));
    return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  }

  // Layers that any shown measurement has task by task.
  function pairLayers() {
    const all = layerscope.runs.flatMap((run) => {
      const now = at(run, step());
      return Object.keys(run.between).filter((layer) => run.between[layer].at.includes(now));
    });
    return [...new Set(all)].sort((a, b) => a - b);
  }

  function between() {
    const layers = pairLayers();
    if (!layers.length) return [];
    const layer = layers.includes(layerscope.state.pair) ? layerscope.state.pair : layers[layers.length - 1];
    const has = (run) => run.between[layer]?.at.includes(at(run, step()));
    const matrixOf = (run, now) => run.square(run.between[layer].matrix, now, run.tasks.length);
    const pairs = layerscope.differences.filter(
      (pair) =>
        !pair.reason &&
        !pair.byDepth &&
        has(pair.first) &&
        has(pair.second) &&
        pair.first.tasks.every((task, i) => pair.second.tasks[i] === task),
    );
    return [...layerscope.runs.filter(has), ...pairs].map((run) => {
      const now = at(run, step());
      const matrix = run.first
        ? difference(matrixOf(run.second, now[1]), matrixOf(run.first, now[0]))
        : matrixOf(run, now);
      const kept = places(run.tasks, (task) => !layerscope.state.hidden.has(task));
      const brackets = layerscope.clusterRows(kept.map((i) => ({ task: run.tasks[i], cluster: run.clusters[i] })));
      return square("tasks", run, now, {
        matrix,
        names: run.tasks,
        kept,
        brackets,
        value: "cosine",
        what: "task",
        limits: run.first ? within(matrix, kept) : layerscope.state.own ? symmetricSpread(matrix, kept) : [-1, 1],
        name: `${run.first ? "Difference in cosine" : "Cosine"} between tasks at layer ${layer}`,
      });
    });
  }

  const symmetricSpread = (matrix, kept) => {
    const [low, high] = spread(matrix, kept);
    const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-most, most];
  };

  layerscope.views.neighbours = neighbours;
  layerscope.views.between = between;
  layerscope.pairLayers = pairLayers;
})();
