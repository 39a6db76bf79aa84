// The ribbon: one colour per layer, which part of the cut it belongs to; dragging over it chooses layers.
(() => {
  const { viewParts } = layerscope;

  // Colours of a scheme, told by Vega's own list as the page gets it: evenly spaced stops.
  function colour(share) {
    const stops = layerscope.page.colours;
    const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
    const [one, two] = [stops[Math.floor(place)], stops[Math.ceil(place)]];
    const mixed = one.map((each, i) => Math.round(each + (two[i] - each) * (place % 1)));
    return `rgb(${mixed.join(",")})`;
  }

  function element(kind, text = "", className = "") {
    const made = document.createElement(kind);
    made.textContent = text;
    made.className = className;
    return made;
  }

  function fill(box, run) {
    const now = viewParts.at(run, viewParts.step());
    const lines = viewParts.linesAt(run, now);
    const name = [viewParts.named(run), run.when[now]].filter(Boolean).join(", ");
    box.querySelector(".ribbon-name").textContent = name;
    box.querySelector(".ribbon-name").hidden = !name;
    const strip = box.querySelector(".ribbon");
    if (!lines) {
      strip.replaceChildren(); // this run has another measure
      return;
    }
    const means = layerscope.meanRows(run, lines, "");
    const [low, high] = run.measure(layerscope.state.measure).range;
    const words = means.map(({ layer, value }) => `layer ${layer}: ${value === null ? "undefined" : value.toFixed(3)}`);
    strip.replaceChildren(
      ...means.map(({ value, depth }, i) => {
        const cell = element("span", "", layerscope.layerShown(depth) ? "" : "outside");
        if (value === null) cell.classList.add("undefined");
        else cell.style.background = colour((value - low) / (high - low));
        cell.title = words[i];
        return cell;
      }),
    );
    strip.setAttribute("aria-label", `${viewParts.title(run)} per layer, mean over tasks: ${words.join(", ")}`);
    box.querySelector(".parts").replaceChildren(...partWords(run, run.cuts[now]));
  }

  function partWords(run, cut) {
    if (!cut.found) {
      const word = element(
        "span",
        `layers ${run.layers[0]} to ${run.layers[run.layers.length - 1]}: no ${cut.kind} found`,
        "none",
      );
      word.style.flex = 1;
      return [word];
    }
    return Object.entries(cut.parts).map(([part, [start, end]]) => {
      const word = element("span", `${part} ${start === end ? start : `${start}-${end}`}`, part);
      word.style.flex = run.layers.filter((layer) => layer >= start && layer <= end).length;
      return word;
    });
  }

  function brush(strip, run) {
    const layerAt = (event) => {
      const box = strip.getBoundingClientRect();
      const place = Math.floor(((event.clientX - box.left) / box.width) * run.layers.length);
      return layerscope.layerAtDepth(run.depths[Math.min(run.layers.length - 1, Math.max(0, place))]);
    };
    layerscope.brush(strip, layerAt, { click: true });
  }

  layerscope.startRibbons = () => {
    const boxes = layerscope.runs.map((run) => {
      const box = element("div", "", "ribbon-box");
      const strip = element("div", "", "ribbon");
      strip.setAttribute("role", "img");
      strip.title = "Drag to choose layers";
      const parts = element("div", "", "parts");
      parts.setAttribute("aria-hidden", "true");
      box.append(element("p", "", "ribbon-name"), strip, parts);
      brush(strip, run);
      return box;
    });
    document.getElementById("ribbons").append(...boxes);
    const show = () => boxes.forEach((box, i) => fill(box, layerscope.runs[i]));
    layerscope.onChange(show);
    show();
  };
})();
