"""What a study's page says and shows of few tasks."""

from types import SimpleNamespace

from lightning_layerscope.study.results.page import _subtitle


def test_one_is_singular():
    results = SimpleNamespace(names=["a"], clusters=["one"], layers=[1], has_controls=False, trained_here=False)
    assert _subtitle(results).startswith("1 task · 1 cluster · 1 layer · ")
