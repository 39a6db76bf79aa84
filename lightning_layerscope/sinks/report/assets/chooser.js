// Which tasks are shown: a searchable list, by cluster.
(() => {
  const at = (id) => document.getElementById(id);

  function checkbox(text, checked, change) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = checked;
    box.addEventListener("change", () => change(box.checked));
    label.append(box, text);
    return { label, box };
  }

  function start() {
    const clusters = new Map();
    for (const run of layerscope.runs) {
      run.tasks.forEach((task, i) =>
        clusters.set(run.clusters[i], (clusters.get(run.clusters[i]) ?? new Set()).add(task)),
      );
    }
    const all = [...clusters.values()].flatMap((tasks) => [...tasks]);
    const groups = [...clusters].map(([cluster, tasks]) => group(cluster, [...tasks], all));
    at("tasks-list").append(...groups.map(({ box }) => box));
    const search = at("tasks-search");
    search.addEventListener("input", () => {
      const text = search.value.trim().toLowerCase();
      for (const each of groups) each.search(text);
    });
    at("tasks-all").addEventListener("click", () => layerscope.set({ hidden: new Set() }));
    const show = () => {
      const { hidden } = layerscope.state;
      at("tasks-count").textContent = hidden.size
        ? `${all.length - hidden.size} of ${all.length}`
        : `all ${all.length}`;
      for (const each of groups) each.show(hidden);
      at("tasks-all").disabled = hidden.size === 0;
    };
    layerscope.onChange(show);
    show();
    // A click elsewhere, and Escape, close the list.
    const chooser = at("chooser");
    document.addEventListener("pointerdown", (event) => {
      if (!chooser.contains(event.target)) chooser.open = false;
    });
    chooser.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      chooser.open = false;
      chooser.querySelector("summary").focus();
    });
  }

  function group(cluster, tasks, all) {
    const box = document.createElement("fieldset");
    const hide = (names, shown) => {
      const hidden = new Set(layerscope.state.hidden);
      for (const name of names) {
        if (shown) hidden.delete(name);
        else hidden.add(name);
      }
      if (hidden.size < all.length) layerscope.set({ hidden });
      else layerscope.set({}); // the last task stays
    };
    const whole = checkbox(cluster, true, (shown) => hide(tasks, shown));
    whole.label.className = "cluster";
    const only = document.createElement("button");
    only.type = "button";
    only.textContent = "only";
    only.title = `Show ${cluster} alone`;
    only.addEventListener("click", () =>
      layerscope.set({ hidden: new Set(all.filter((task) => !tasks.includes(task))) }),
    );
    const head = document.createElement("div");
    head.append(whole.label, only);
    const items = tasks.map((task) => ({ task, ...checkbox(task, true, (shown) => hide([task], shown)) }));
    box.append(head, ...items.map(({ label }) => label));
    return {
      box,
      search(text) {
        const named = cluster.toLowerCase().includes(text);
        for (const { task, label } of items) label.hidden = !(named || task.toLowerCase().includes(text));
        box.hidden = items.every(({ label }) => label.hidden);
      },
      show(hidden) {
        const shown = items.filter(({ task }) => !hidden.has(task));
        for (const { task, box: each } of items) each.checked = !hidden.has(task);
        whole.box.checked = shown.length > 0;
        whole.box.indeterminate = shown.length > 0 && shown.length < items.length;
      },
    };
  }

  layerscope.startChooser = start;
})();
