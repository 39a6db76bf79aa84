"""What a study's page says and shows of few tasks."""

from types import SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_layerscope.study.results.figures import curves_per_cluster
from lightning_layerscope.study.results.page import _subtitle


def test_one_is_singular():
    results = SimpleNamespace(names=["a"], clusters=["one"], layers=[1], has_controls=False, trained_here=False)
    assert _subtitle(results).startswith("1 task · 1 cluster · 1 layer · ")


def test_the_legend_of_one_cluster_stays_in_the_picture():
    values = {"base": np.ones((2, 3)), "multitask": np.zeros((2, 3))}
    figure = curves_per_cluster(values, [1, 2, 3], ["one", "one"], ylabel="CKA with the control")
    FigureCanvasAgg(figure).draw()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
