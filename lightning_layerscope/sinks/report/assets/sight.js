// Keeps parts of the page up to date while they are in sight, and the others when they come into sight.
(() => {
  const parts = new Map(); // element -> { update, stale, work }
  const inSight = new Set();

  function keep(element, update) {
    parts.set(element, { update, stale: true, work: Promise.resolve() });
    watcher.observe(element);
  }

  // One update of a part after the other; of those that wait, the last is enough.
  function refresh(element) {
    const part = parts.get(element);
    part.work = part.work.then(async () => {
      if (!part.stale) return;
      part.stale = false;
      await part.update();
    });
    return part.work;
  }

  let busy = null;
  let again = false;
  // A slider that moves faster than the page can follow skips what lies between.
  function refreshAll() {
    again = true;
    busy ??= (async () => {
      while (again) {
        again = false;
        for (const element of [...inSight]) await refresh(element);
      }
      busy = null;
    })();
    return busy;
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) inSight.add(target);
        else inSight.delete(target);
        if (isIntersecting) refresh(target);
      }
    },
    { rootMargin: "20px" },
  );

  layerscope.onChange(() => {
    for (const part of parts.values()) part.stale = true;
    refreshAll();
  });

  // Everything, for paper.
  window.addEventListener("beforeprint", () => {
    for (const element of parts.keys()) refresh(element);
  });

  Object.assign(layerscope, { keep, refresh, refreshAll });
})();
