// A run of the page: its measurements, and rows for pictures and tables at one of them.
(() => {
  const { definedMean, meanIntervals, atDepths, subtract } = layerscope;

  class Run {
    constructor(data, numbers, student) {
      Object.assign(this, data);
      this.numbers = numbers;
      this.student = student;
      this.depths = this.layers.map((layer) => layer / this.depth);
    }

    // The last measurement up to a step; the first where none is as early.
    measurementAt(step) {
      let found = 0;
      this.steps.forEach((each, i) => {
        if (each <= step) found = i;
      });
      return found;
    }

    measure(key) {
      return this.measures.find((each) => each.key === key);
    }

    // Per task its value, low and high over layers, and why a value is undefined.
    lines(key, measurement) {
      const measure = this.measure(key);
      if (!measure) return null;
      const count = this.layers.length;
      const [value, low, high, reason] = ["value", "low", "high", "reason"].map((part) =>
        this.numbers.at(measure[part], measurement),
      );
      const none = new Float64Array(count).fill(NaN);
      return this.tasks.map((task, i) => {
        const cut = (column) => (column ? column.subarray(i * count, (i + 1) * count) : none);
        const why = reason ? Array.from(cut(reason), (n) => measure.reasons[n] ?? "") : [];
        return { task, cluster: this.clusters[i], value: cut(value), low: cut(low), high: cut(high), why };
      });
    }

    // One matrix of an upper triangle, row by row.
    square(column, measurement, size) {
      const triangle = this.numbers.at(column, measurement);
      const rows = Array.from({ length: size }, () => new Array(size));
      let place = 0;
      for (let i = 0; i < size; i++) {
        for (let j = i; j < size; j++) rows[i][j] = rows[j][i] = triangle[place++];
      }
      return rows;
    }
  }

  // What of two runs can be subtracted, second minus first, in the same shape as a run's lines; over the depths of the
  // run with fewer layers where they differ in depth.
  class Difference {
    constructor({ first, second, ...rest }, runs) {
      Object.assign(this, rest);
      this.first = runs[first];
      this.second = runs[second];
      this.name = `${this.second.name} − ${this.first.name}`;
      const coarse = this.second.layers.length < this.first.layers.length ? this.second : this.first;
      this.byDepth = this.first.depth !== this.second.depth;
      this.base = this.byDepth ? coarse : this.first;
      for (const name of ["tasks", "clusters", "layers", "depth", "depths", "student"]) this[name] = this.base[name];
      this.tasks = this.first.tasks;
      this.clusters = this.first.clusters;
    }

    measure(key) {
      return this.second.measure(key) && this.first.measure(key);
    }

    lines(key, [one, two]) {
      const [first, second] = [this.first.lines(key, one), this.second.lines(key, two)];
      if (!first || !second) return null;
      const byName = new Map(second.map((line) => [line.task, line]));
      const shift = (line, run) => {
        if (!this.byDepth) return line;
        const parts = {};
        for (const part of ["value", "low", "high"]) parts[part] = atDepths(line[part], run.depths, this.depths);
        return parts;
      };
      return first.map((line) => {
        const other = byName.get(line.task);
        const [a, b] = [shift(line, this.first), shift(other, this.second)];
        const why = Array.from(a.value, (value, i) => {
          const missing = Number.isNaN(value) + 2 * Number.isNaN(b.value[i]);
          return ["", "undefined in the first", "undefined in the second", "undefined in both"][missing];
        });
        return { task: line.task, cluster: line.cluster, ...subtract(a, b), why };
      });
    }
  }

  const plain = (value) => (Number.isNaN(value) ? null : value);

  // Rows of a heatmap: one per task and layer.
  function cellRows(run, lines, layerShown) {
    const rows = [];
    for (const line of lines) {
      run.layers.forEach((layer, i) => {
        if (!layerShown(run.depths[i])) return;
        rows.push({
          task: line.task,
          cluster: line.cluster,
          layer,
          value: plain(line.value[i]),
          low: plain(line.low[i]),
          high: plain(line.high[i]),
          reason: line.why[i] ?? "",
        });
      });
    }
    return rows;
  }

  // Brackets of clusters beside a heatmap's rows.
  function clusterRows(lines) {
    const spans = new Map();
    for (const { task, cluster } of lines) spans.set(cluster, [...(spans.get(cluster) ?? []), task]);
    if (spans.size < 2) return [];
    return [...spans].map(([cluster, tasks]) => ({
      cluster,
      first: tasks[0],
      middle: tasks[Math.floor((tasks.length - 1) / 2)],
      last: tasks[tasks.length - 1],
      tasks: tasks.length,
    }));
  }

  // The mean over the lines per layer, with its interval.
  function meanRows(run, lines, series) {
    const found = meanIntervals(
      lines.map((line) => line.value),
      lines.map((line) => line.cluster),
      run.student,
    );
    return found.map((each, i) => ({
      series,
      layer: run.layers[i],
      depth: run.depths[i],
      value: plain(each.value),
      low: plain(each.low),
      high: plain(each.high),
      tasks: each.tasks,
    }));
  }

  // The mean of every cluster's lines per layer; none where there is one cluster.
  function clusterCurves(run, lines, series) {
    const groups = new Map();
    for (const line of lines) groups.set(line.cluster, [...(groups.get(line.cluster) ?? []), line]);
    if (groups.size < 2) return [];
    return [...groups].flatMap(([cluster, members]) =>
      run.layers.map((layer, i) => ({
        series,
        cluster,
        layer,
        value: plain(definedMean(members.map((line) => line.value[i]))),
      })),
    );
  }

  Object.assign(layerscope, { Run, Difference, cellRows, clusterRows, meanRows, clusterCurves, plain });
})();
