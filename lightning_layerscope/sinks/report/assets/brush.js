// Layers chosen by dragging: over a ribbon, and over curves, where what is chosen is tinted.
(() => {
  // layerAt: the layer under an event, of the first run's; null where none can be chosen.
  function brush(element, layerAt, { click }) {
    let from = null;
    let dragged = false;
    element.classList.add("brushed");
    element.addEventListener("pointerdown", (event) => {
      from = event.button === 0 ? layerAt(event) : null;
      dragged = false;
      if (from !== null) element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      const to = from === null ? null : layerAt(event);
      if (to === null || (to === from && !dragged)) return;
      dragged = true;
      layerscope.chooseLayers([from, to].sort((a, b) => a - b));
    });
    element.addEventListener("pointerup", () => {
      // A click chooses one layer, and with layers chosen takes the choice back.
      if (from !== null && !dragged && click) layerscope.chooseLayers(layerscope.state.layers ? null : [from, from]);
      from = null;
    });
    element.addEventListener("pointercancel", () => (from = null));
  }

  // The first run's layer at a relative depth.
  function layerAtDepth(depth) {
    const { layers, depth: whole } = layerscope.runs[0];
    const away = (layer) => Math.abs(layer - depth * whole);
    return layers.reduce((near, layer) => (away(layer) < away(near) ? layer : near), layers[0]);
  }

  const overLayers = ({ what }) => what.kind === "curve" || what.kind === "difference";

  function brushCurve(holder) {
    const layerAt = (event) => {
      const { picture } = holder;
      if (!picture.view || !overLayers(picture)) return null;
      const left = holder.querySelector("canvas").getBoundingClientRect().left + picture.corner[0];
      return layerAtDepth(picture.view.scale("x").invert(event.clientX - left) / picture.what.run.depth);
    };
    brush(holder, layerAt, { click: false });
  }

  // Tints the chosen layers of a curve.
  function shade(picture) {
    picture.shade?.remove();
    const { layers } = layerscope.state;
    if (!layers || !overLayers(picture)) return;
    const { run } = picture.what;
    const shown = run.layers.filter((_, i) => layerscope.layerShown(run.depths[i]));
    if (!shown.length) return;
    const [left, top] = picture.corner;
    const x = picture.view.scale("x");
    const [first, last] = [x(shown[0] - 0.5), x(shown[shown.length - 1] + 0.5)];
    picture.shade = document.createElement("div");
    picture.shade.className = "shade";
    const box = { left: left + first, top, width: last - first, height: picture.view.height() };
    for (const [side, length] of Object.entries(box)) picture.shade.style[side] = `${length}px`;
    picture.holder.append(picture.shade);
  }

  Object.assign(layerscope, { brush, layerAtDepth, brushCurve, shade });
})();
