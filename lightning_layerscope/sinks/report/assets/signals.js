// Curves beside the heatmaps: the measure over the steps, and every signal that a run has, over layers or over steps.
(() => {
  const { plain, meanIntervals, definedMean, viewParts } = layerscope;
  const { at, step, when, joined, named, linesAt, capital, measureOf, known, finite, shownTasks, remembered } =
    viewParts;

  function limitsOf(rows) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of rows.flatMap(finite)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) return [0, 1];
    const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 0.05;
    return [low - margin, high + margin];
  }

  const chosenLayers = (run) => run.layers.flatMap((_, i) => (layerscope.layerShown(run.depths[i]) ? [i] : []));

  function layerWords(run) {
    const kept = chosenLayers(run).map((i) => run.layers[i]);
    if (kept.length === run.layers.length) return "all layers";
    return kept.length === 1 ? `layer ${kept[0]}` : `layers ${kept[0]} to ${kept[kept.length - 1]}`;
  }

  // The mean over the chosen layers of every task, then over tasks with its interval, at every measurement.
  function overSteps() {
    const rows = known().flatMap((run) => {
      if (run.steps.length < 2) return [];
      const kept = chosenLayers(run);
      return run.steps.map((each, measurement) => {
        const lines = linesAt(run, measurement);
        const means = lines.map((line) => [definedMean(kept.map((i) => line.value[i]))]);
        const [found] = meanIntervals(
          means,
          lines.map((line) => line.cluster),
          run.student,
        );
        const row = { series: named(run) || measureOf().title, layer: each };
        return {
          ...row,
          value: plain(found.value),
          low: plain(found.low),
          high: plain(found.high),
          tasks: found.tasks,
        };
      });
    });
    if (!rows.length) return [];
    const run = known()[0];
    return [
      stepPicture(run, rows, {
        name: `${measureOf().title} over training, mean over ${shownTasks(run)} and ${layerWords(run)}`,
        value: `${measureOf().title}, mean over tasks and layers`,
        limits: limitsOf(rows),
      }),
    ];
  }

  const stepPicture = (run, rows, rest) => ({
    kind: "over-steps",
    run,
    datasets: { curves: rows, parts: [], boundaries: [] },
    domain: [Math.min(...rows.map((row) => row.layer)), Math.max(...rows.map((row) => row.layer))],
    table: "curves",
    shape: JSON.stringify([...new Set(rows.map((row) => row.series))]),
    ...rest,
  });

  function curveRows(run, column, measurement, series) {
    const curve = run.numbers.at(column, measurement);
    const count = run.layers.length;
    return run.layers.map((layer, i) => ({
      series,
      layer,
      depth: run.depths[i],
      value: plain(curve[i]),
      low: plain(curve[count + i]),
      high: plain(curve[2 * count + i]),
      tasks: run.tasks.length,
    }));
  }

  // Every signal of any run: its title, and which runs have it.
  function everySignal(draw) {
    const titles = new Map(layerscope.runs.flatMap((run) => run.signals.map((each) => [each.name, each.title])));
    return [...titles].flatMap(([name, title]) =>
      draw(
        title,
        layerscope.runs.flatMap((run) =>
          run.signals.filter((each) => each.name === name).map(({ curve }) => ({ run, curve })),
        ),
      ),
    );
  }

  const overLayers = () =>
    everySignal((title, having) =>
      signalOverLayers(
        title,
        having.filter(({ run }) => run.depth === having[0].run.depth),
      ),
    );
  const signalsOverSteps = remembered("signals", () => everySignal(signalOverSteps));
  const signals = () => (layerscope.state.over === "steps" ? signalsOverSteps() : overLayers());

  // Limits that hold for every measurement, so that pictures of two can be compared.
  const limits = new Map();
  function limitsOverAll(title, having) {
    if (!limits.has(title)) {
      limits.set(
        title,
        limitsOf(having.flatMap(({ run, curve }) => run.steps.flatMap((_, m) => curveRows(run, curve, m, "")))),
      );
    }
    return limits.get(title);
  }

  function signalOverLayers(title, having) {
    const rows = having.flatMap(({ run, curve }) => {
      const now = at(run, step());
      return curveRows(run, curve, now, joined(named(run), when(run, now)) || title);
    });
    return [
      {
        kind: "curve",
        run: having[0].run,
        name: `${capital(title)} per layer`,
        value: title,
        limits: limitsOverAll(title, having),
        datasets: { curves: rows, parts: [], boundaries: [] },
        table: "curves",
        shape: title,
      },
    ];
  }

  function signalOverSteps(title, having) {
    const rows = having.flatMap(({ run, curve }) => {
      const kept = new Set(chosenLayers(run));
      return run.steps.map((each, m) => {
        const cells = curveRows(run, curve, m, "").filter((_, i) => kept.has(i));
        const mean = (part) => plain(definedMean(cells.map((row) => row[part] ?? NaN)));
        const one = cells.length === 1; // the interval of a mean over layers is not known
        const row = { series: named(run) || title, layer: each, value: mean("value"), tasks: run.tasks.length };
        return { ...row, low: one ? mean("low") : null, high: one ? mean("high") : null };
      });
    });
    const run = having[0].run;
    return [
      stepPicture(run, rows, {
        name: `${capital(title)} over training, mean over ${layerWords(run)}`,
        value: title,
        limits: limitsOf(rows),
      }),
    ];
  }

  layerscope.views.overSteps = remembered("steps", overSteps);
  layerscope.views.signals = signals;
  Object.assign(viewParts, { limitsOf, stepPicture });
  layerscope.layerWords = layerWords;
})();
