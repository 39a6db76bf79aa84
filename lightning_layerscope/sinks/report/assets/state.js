// What is chosen on the page. Everything shown is a function of it; it stays in the address, so that a page that is
// loaded again shows the same.
(() => {
  const listeners = [];
  let waiting = false;
  let remembering = 0;

  const state = {
    step: 0, // place among the page's steps
    measure: "",
    hidden: new Set(), // tasks
    layers: null, // [first, last] of the first run's layers, null: all
    own: false, // colours over the values' own range
    over: "layers", // signals over layers or over steps
    pair: "", // layer of task by task
  };

  function set(changes) {
    Object.assign(state, changes);
    clearTimeout(remembering);
    remembering = setTimeout(remember, 200); // browsers refuse an address that changes a hundred times a second
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const listener of listeners) listener(state);
    });
  }

  function remember() {
    const words = new URLSearchParams();
    const { steps } = layerscope;
    if (state.step !== steps.length - 1) words.set("step", steps[state.step]);
    if (state.measure !== layerscope.measures[0].key) words.set("measure", state.measure);
    if (state.hidden.size) words.set("without", JSON.stringify([...state.hidden]));
    if (state.layers) words.set("layers", state.layers.join("-"));
    if (state.own) words.set("own", "1");
    if (state.over !== "layers") words.set("over", state.over);
    try {
      history.replaceState(null, "", words.size ? `#${words}` : location.pathname + location.search);
    } catch {
      // A page inside of another, as trackers show it, may have no address of its own.
    }
  }

  // What an address asks for, as far as this page has it.
  function recall() {
    const words = new URLSearchParams(location.hash.slice(1));
    const { steps, measures, runs } = layerscope;
    const place = words.has("step") ? steps.indexOf(Number(words.get("step"))) : -1;
    state.step = place < 0 ? steps.length - 1 : place;
    state.measure = (measures.find((each) => each.key === words.get("measure")) ?? measures[0]).key;
    state.own = words.get("own") === "1";
    state.over = words.get("over") === "steps" ? "steps" : "layers";
    const [first, last] = (words.get("layers") ?? "").split("-").map(Number);
    if (runs[0].layers.includes(first) && runs[0].layers.includes(last) && first <= last) state.layers = [first, last];
    try {
      const known = new Set(runs.flatMap((run) => run.tasks));
      const hidden = JSON.parse(words.get("without") ?? "[]").filter((task) => known.has(task));
      if (hidden.length < known.size) state.hidden = new Set(hidden);
    } catch {
      // An address that somebody has cut is no reason to show nothing.
    }
  }

  // Whether a layer at this depth is among those chosen.
  function layerShown(depth) {
    if (!state.layers) return true;
    const whole = layerscope.runs[0].depth;
    return depth * whole > state.layers[0] - 0.5 && depth * whole < state.layers[1] + 0.5;
  }

  Object.assign(layerscope, { state, set, recall, layerShown, onChange: (listener) => listeners.push(listener) });
})();
