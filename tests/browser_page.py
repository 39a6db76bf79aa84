"""A page in headless Chromium with the network cut: what it says to the console and asks for is collected."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium():
    """A browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def open_page(browser, path, *, width=1280, height=900, scheme="light", anchor=""):
    """A tab with the page, ready; fails where it wrote to the console, raised, or asked for anything else."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, accept_downloads=True
    )
    context.set_default_timeout(60_000)
    tab, problems, requests = context.new_page(), [], []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(f"{error} {error.stack}"))
    tab.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri() + anchor)
    tab.wait_for_selector("html[data-ready]")
    yield tab
    context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def show(tab, section):
    """Scroll to a section and wait until its pictures are drawn."""
    tab.evaluate(
        "async (id) => { const part = document.getElementById(id); part.scrollIntoView();"
        " await new Promise(requestAnimationFrame); await layerscope.refresh(part); }",
        section,
    )
    settle(tab)


def settle(tab):
    """Wait until what was chosen is shown."""
    tab.evaluate("async () => { await new Promise(requestAnimationFrame); await layerscope.refreshAll(); }")


def rows(tab, section, picture=0, name=None):
    """The rows behind a picture, as it was drawn with."""
    return tab.evaluate(
        "([id, i, name]) => { const { what } = document.querySelectorAll(`#${id} .picture`)[i].picture;"
        " return what.datasets[name ?? what.table]; }",
        [section, picture, name],
    )
