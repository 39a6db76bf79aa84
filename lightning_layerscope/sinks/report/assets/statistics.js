// Means over the chosen tasks with their intervals, and differences of runs, as the package computes them.
(() => {
  const MIN_CLUSTERS = 6; // with fewer, tasks are taken as independent

  // Mean per layer with its interval over tasks; clusters are the independent units where there are enough.
  // rows: one array of layers per task, NaN where undefined. student: quantile of Student's t by degrees of freedom.
  function meanIntervals(rows, clusters, student) {
    const distinct = new Set(clusters).size;
    const byCluster = distinct >= MIN_CLUSTERS && distinct < rows.length;
    const layers = rows.length ? rows[0].length : 0;
    const found = [];
    for (let layer = 0; layer < layers; layer++) {
      let sum = 0;
      let count = 0;
      for (const row of rows) {
        if (!Number.isNaN(row[layer])) {
          sum += row[layer];
          count += 1;
        }
      }
      const mean = count ? sum / count : NaN;
      const sums = new Map();
      rows.forEach((row, task) => {
        if (Number.isNaN(row[layer])) return;
        const unit = byCluster ? clusters[task] : task;
        sums.set(unit, (sums.get(unit) ?? 0) + row[layer] - mean);
      });
      const units = sums.size;
      let squares = 0;
      for (const each of sums.values()) squares += each * each;
      const half = units > 1 ? (student[units - 1] * Math.sqrt((units / (units - 1)) * squares)) / count : NaN;
      found.push({ value: mean, low: mean - half, high: mean + half, tasks: count });
    }
    return found;
  }

  function definedMean(values) {
    let sum = 0;
    let count = 0;
    for (const value of values) {
      if (!Number.isNaN(value)) {
        sum += value;
        count += 1;
      }
    }
    return count ? sum / count : NaN;
  }

  // A curve over depths, read at other depths by straight lines; NaN outside of its own.
  function atDepths(curve, depths, wanted) {
    return wanted.map((depth) => {
      if (depth < depths[0] || depth > depths[depths.length - 1]) return NaN;
      let right = depths.findIndex((each) => each >= depth);
      if (depths[right] === depth) return curve[right];
      const share = (depth - depths[right - 1]) / (depths[right] - depths[right - 1]);
      return curve[right - 1] + share * (curve[right] - curve[right - 1]);
    });
  }

  // Second minus first, cell by cell; the interval combines both as if independent: it is wide where both saw the same
  // examples. Each side has value, low and high: arrays of one task over layers.
  function subtract(first, second) {
    const value = second.value.map((each, i) => each - first.value[i]);
    const below = second.value.map((each, i) => Math.hypot(each - second.low[i], first.high[i] - first.value[i]));
    const above = second.value.map((each, i) => Math.hypot(second.high[i] - each, first.value[i] - first.low[i]));
    return { value, low: value.map((each, i) => each - below[i]), high: value.map((each, i) => each + above[i]) };
  }

  Object.assign(layerscope, { meanIntervals, definedMean, atDepths, subtract });
})();
