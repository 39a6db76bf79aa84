// Figures that came with the page as images are drawn from their descriptions when they come into sight, so that the
// pointer reads them and their values can be saved; an image stays where that fails.
(() => {
  async function draw(image, { spec, datasets }) {
    const caption = image.querySelector("figcaption").textContent.trim();
    const table = Object.keys(datasets)[0];
    const { title, ...untitled } = spec;
    const what = { spec: untitled, titled: spec, datasets, table, name: image.dataset.name, label: caption };
    const made = layerscope.makeFigure(what);
    made.words.textContent = caption;
    made.box.classList.add("paper");
    image.after(made.box);
    try {
      await made.picture.draw();
      image.hidden = true;
    } catch {
      made.picture.remove();
      made.box.remove();
    }
  }

  layerscope.startFigures = () => {
    for (const image of document.querySelectorAll("figure[data-name]")) {
      const described = layerscope.page.figures[image.dataset.name];
      let drawn = null;
      layerscope.keep(image, () => (drawn ??= draw(image, described)));
    }
  };
})();
