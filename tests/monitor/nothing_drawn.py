"""Stands in for the process that draws, in tests that look at no picture and no page: it takes seconds to start."""

from lightning_layerscope.drawing.passing import Drawn


class NothingDrawn:
    """Says that all is drawn, gives no picture, and writes no file.

    Attributes:
        asked: What was handed over: step, whether pictures, whether the report.
    """

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def ask(self, step, *, pictures, report):
        self.asked.append((step, pictures, report))

    def has_pictures(self, step):
        return True

    def pictures(self, step):
        return Drawn()

    def discard(self, step):
        pass

    def page(self):
        return True, ""

    def check(self):
        pass

    def wait(self, steps, seconds):
        return True

    def close(self):
        pass
