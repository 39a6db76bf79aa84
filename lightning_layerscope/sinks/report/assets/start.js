// Reads the page's numbers and starts its parts.
(async () => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const numbers = await layerscope.readNumbers(document.getElementById("numbers").textContent, page.columns);
  const runs = page.runs.map((run) => new layerscope.Run(run, numbers, page.student));
  const steps = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
  const measures = new Map(runs.flatMap((run) => run.measures).map((each) => [each.key, each]));
  const differences = page.differences.map((pair) => new layerscope.Difference(pair, runs));
  Object.assign(layerscope, { page, runs, steps, measures: [...measures.values()], differences });
  layerscope.recall();
  layerscope.startControls();
  layerscope.startChooser();
  layerscope.startRibbons();
  layerscope.startTables();
  layerscope.startFigures();
  for (const section of document.querySelectorAll("[data-view]")) {
    layerscope.showSection(section, layerscope.views[section.dataset.view]);
  }
  document.documentElement.dataset.ready = "yes";
})().catch((error) => {
  const told = document.getElementById("failed");
  told.hidden = false;
  told.querySelector("span").textContent = String(error);
  throw error;
});
