"""What the monitor says: at the user's own line, in whole sentences, with numbers that agree with their nouns."""

import re
import warnings

import lightning.pytorch as pl
import pytest
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import LayerSimilarityMonitor
from lightning_layerscope.monitor import active
from lightning_layerscope.monitor.messages import sentence


def fit(tiny, tmp_path, **options):
    tiny.seed()
    monitor = LayerSimilarityMonitor(
        tiny.probes(tasks=1, examples=6), every_n_steps=2, report=False, output_dir=str(tmp_path / "out"), **options
    )
    trainer = pl.Trainer(**tiny.quiet, max_steps=4, accelerator="cpu", callbacks=[monitor])
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=4))
    return monitor


@pytest.mark.parametrize("error", ["it broke", "it broke.", "it broke. "])
def test_a_warning_is_at_the_users_line_and_ends_its_sentences_once(tiny, tmp_path, monkeypatch, error):
    def breaks(*_, **__):
        raise ValueError(error)

    monkeypatch.setattr(active, "extract_hidden_states", breaks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tiny, tmp_path, verbose=False)
    [told] = [one for one in caught if "layerscope:" in str(one.message)]
    assert told.filename == __file__
    assert not re.search(r"\.\.|\. \.", str(told.message))
    assert "ValueError: it broke. Without a baseline" in str(told.message)


def test_one_is_singular(tiny, tmp_path, capsys):
    fit(tiny, tmp_path, max_overhead=None)
    said = capsys.readouterr().out
    assert "1 task, 6 prompts, " in said
    assert not re.search(r"\b1 (tasks|prompts|measurements|examples)\b", said)


def test_sentences_end_with_one_stop():
    assert [sentence(text) for text in ("a", "a.", "a:", "a!", " a; ")] == ["a.", "a.", "a.", "a!", "a."]
