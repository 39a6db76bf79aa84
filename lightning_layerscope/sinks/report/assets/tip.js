// One tooltip for the page: lines of a name and a value, as text.
(() => {
  const box = document.getElementById("tip");

  function show(lines, x, y) {
    box.replaceChildren(
      ...lines.map(([name, text]) => {
        const line = document.createElement("div");
        const label = document.createElement("span");
        label.textContent = name;
        const value = document.createElement("b");
        value.textContent = text;
        line.append(label, value);
        return line;
      }),
    );
    box.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = box;
    const left = x + 16 + width > window.innerWidth ? x - 12 - width : x + 16;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${Math.max(4, y - height - 10)}px`;
  }

  function hide() {
    box.hidden = true;
  }

  layerscope.tip = { show, hide };
})();
