// The bar of choices: measurement, measure, layers, tasks.
(() => {
  const { set } = layerscope;
  const at = (id) => document.getElementById(id);

  function steps() {
    const { steps: all, state, runs } = layerscope;
    const slider = at("step");
    at("steps").hidden = all.length < 2;
    slider.max = all.length - 1;
    slider.addEventListener("input", () => set({ step: Number(slider.value) }));
    const move = (by) => () => set({ step: Math.min(all.length - 1, Math.max(0, layerscope.state.step + by)) });
    at("earlier").addEventListener("click", move(-1));
    at("later").addEventListener("click", move(1));
    const show = () => {
      const name = stepWords(runs, all[state.step]);
      slider.value = state.step;
      at("step-name").textContent = `${name} (${state.step + 1} of ${all.length})`;
      slider.setAttribute("aria-valuetext", name);
      at("earlier").disabled = state.step === 0;
      at("later").disabled = state.step === all.length - 1;
    };
    layerscope.onChange(show);
    show();
  }

  // "step 1,200", and which run has another measurement at that step.
  function stepWords(runs, step) {
    const name = `step ${step.toLocaleString("en-US")}`;
    if (runs.length === 1) return name;
    const odd = runs.flatMap((run) => {
      const found = run.measurementAt(step);
      return run.steps[found] === step ? [] : [`${run.name}: ${run.when[found] || "its only measurement"}`];
    });
    return odd.length ? `${name}; ${odd.join("; ")}` : name;
  }

  function measures() {
    const select = at("measure");
    for (const { key, title } of layerscope.measures) select.add(new Option(title, key));
    at("measures").hidden = layerscope.measures.length < 2;
    select.addEventListener("change", () => set({ measure: select.value }));
    const show = () => (select.value = layerscope.state.measure);
    layerscope.onChange(show);
    show();
    const own = at("own");
    own.addEventListener("change", () => set({ own: own.checked }));
    own.checked = layerscope.state.own;
  }

  function layers() {
    const run = layerscope.runs[0];
    const [first, last] = [at("first-layer"), at("last-layer")];
    for (const input of [first, last]) {
      for (const layer of run.layers) input.add(new Option(layer, layer));
      input.addEventListener("change", () => {
        const ends = [Number(first.value), Number(last.value)].sort((a, b) => a - b);
        choose(ends);
      });
    }
    at("all-layers").addEventListener("click", () => choose(null));
    const show = () => {
      const [low, high] = layerscope.state.layers ?? [run.layers[0], run.layers[run.layers.length - 1]];
      first.value = low;
      last.value = high;
      at("all-layers").hidden = !layerscope.state.layers;
    };
    layerscope.onChange(show);
    show();
  }

  function choose(ends) {
    const all = layerscope.runs[0].layers;
    const whole = !ends || (ends[0] === all[0] && ends[1] === all[all.length - 1]);
    set({ layers: whole ? null : ends });
  }

  function pairs() {
    const select = at("pair");
    if (!select) return;
    const show = () => {
      const known = layerscope.pairLayers();
      if ([...select.options].map((each) => each.value).join() !== known.join()) {
        select.replaceChildren(...known.map((layer) => new Option(`layer ${layer}`, layer)));
      }
      if (known.length)
        select.value = known.includes(layerscope.state.pair) ? layerscope.state.pair : known[known.length - 1];
      at("pairs").hidden = known.length < 2;
    };
    select.addEventListener("change", () => set({ pair: select.value }));
    layerscope.onChange(show);
    show();
  }

  function over() {
    if (!at("overs")) return;
    for (const input of document.getElementsByName("over")) {
      input.checked = input.value === layerscope.state.over;
      input.addEventListener("change", () => set({ over: input.value }));
    }
  }

  // A page that is written again and again loads itself again, unless somebody is working with it.
  function follow() {
    const seconds = Number(document.documentElement.dataset.follow);
    at("follow-choice").hidden = !seconds;
    if (!seconds) return;
    let touched = -Infinity;
    for (const kind of ["pointerdown", "keydown", "wheel"])
      document.addEventListener(kind, () => (touched = performance.now()), { passive: true });
    setInterval(() => {
      if (at("follow").checked && !document.hidden && performance.now() - touched > 1000 * seconds) location.reload();
    }, 1000 * seconds);
  }

  // On a phone the slider alone stays on top: the bar moves out of sight as far as its last row.
  function stick() {
    const bar = at("controls");
    new ResizeObserver(() => {
      bar.style.setProperty("--above", `${bar.offsetHeight - at("steps").offsetHeight - 14}px`);
    }).observe(bar);
  }

  // Arrows move through the measurements wherever nothing else takes them.
  document.addEventListener("keydown", (event) => {
    if (
      event.target.closest("input, select, textarea, button, summary, [role=grid], .picture") ||
      event.altKey ||
      event.ctrlKey ||
      event.metaKey
    )
      return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || layerscope.steps.length < 2) return;
    event.preventDefault();
    at(by < 0 ? "earlier" : "later").click();
  });

  layerscope.chooseLayers = choose;
  layerscope.startControls = () => [steps, measures, layers, pairs, over, follow, stick].forEach((start) => start());
})();
