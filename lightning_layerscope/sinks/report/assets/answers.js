// How the model answers: every score over the steps, and task by task.
(() => {
  const { plain, viewParts } = layerscope;
  const { at, step, named, joined, capital, limitsOf, stepPicture } = viewParts;
  const FEW = 7; // more tasks than this have no line of their own

  // One score of a run at a measurement: by task, "" being the mean over tasks.
  function scoresAt(run, score, measurement) {
    const values = run.numbers.at(score.score, measurement);
    const count = score.tasks.length;
    return new Map(
      score.tasks.map((task, i) => [
        task,
        { value: plain(values[i]), low: plain(values[count + i]), high: plain(values[2 * count + i]) },
      ]),
    );
  }

  function byName() {
    const names = [...new Set(layerscope.runs.flatMap((run) => run.scores.map(({ name }) => name)))];
    return names.map((name) =>
      layerscope.runs.flatMap((run) =>
        run.scores.filter((each) => each.name === name).map((score) => ({ run, score })),
      ),
    );
  }

  function answers() {
    return byName().flatMap((having) => {
      const rows = having.flatMap(({ run, score }) =>
        run.steps.length < 2 ? [] : scoreRows(run, score, having.length === 1),
      );
      const { run, score } = having[0];
      if (!rows.some((row) => row.value !== null)) return [];
      return [
        stepPicture(run, rows, {
          name: `${capital(score.title)} over training`,
          value: score.title,
          limits: limitsOf(rows),
        }),
      ];
    });
  }

  function scoreRows(run, score, alone) {
    const tasks =
      alone && score.tasks.length <= FEW + 1 ? score.tasks.filter((task) => !layerscope.state.hidden.has(task)) : [""];
    const known = run.steps.map((_, m) => scoresAt(run, score, m));
    return tasks.flatMap((task) =>
      run.steps.map((each, m) => {
        const { value, low, high } = known[m].get(task);
        const ends = task === "" ? { low, high } : { low: null, high: null }; // a band per task would cover the others
        return {
          series: joined(named(run), task || "all tasks"),
          layer: each,
          value,
          ...ends,
          tasks: task ? 1 : score.tasks.length - 1,
        };
      }),
    );
  }

  // Lines of the table: one per score and task; columns of the first and the shown measurement of every run.
  function scoreTable() {
    const heads = [{ text: "task" }, { text: "score" }];
    const columns = layerscope.runs.flatMap((run) => {
      const now = at(run, step());
      return (now > 0 ? [0, now] : [now]).map((measurement) => ({
        run,
        measurement,
        text: joined(named(run), run.when[measurement]) || "value",
      }));
    });
    const rows = byName().flatMap((having) =>
      [...new Set(having.flatMap(({ score }) => score.tasks))]
        .filter((task) => !layerscope.state.hidden.has(task))
        .map((task) => [
          { text: task || "all tasks" },
          { text: having[0].score.title },
          ...columns.map(({ run, measurement }) => {
            const score = having.find((each) => each.run === run)?.score;
            return cell(score && scoresAt(run, score, measurement).get(task));
          }),
        ]),
    );
    return { heads: [...heads, ...columns.map(({ text }) => ({ text, number: true }))], rows };
  }

  function cell(found) {
    if (!found || found.value === null) return { text: "", sort: -1e9, number: true };
    const why = found.low === null ? "" : `${found.low.toFixed(3)} to ${found.high.toFixed(3)}`;
    return { text: found.value.toFixed(3), sort: found.value, number: true, why };
  }

  layerscope.views.answers = answers;
  layerscope.scoreTable = scoreTable;
})();
