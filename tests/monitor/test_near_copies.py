"""Near copies among the prompts count once where the options say so."""

from dataclasses import replace

import lightning.pytorch as pl
import pytest
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import Comparison, LayerSimilarityMonitor
from lightning_layerscope.probes import ProbeSet


def test_near_copies_count_once_where_asked(tiny, tmp_path):
    probes = tiny.probes()
    first = next(iter(probes.values()))
    ids = tuple((*range(10, 19), 20 + row) if row < 4 else each for row, each in enumerate(first.input_ids))
    copied = ProbeSet([replace(first, input_ids=ids, sources=()), *list(probes.values())[1:]], vocab_size=64)
    values = {}
    for choice in ("separate", "group"):
        monitor = LayerSimilarityMonitor(
            copied, output_dir=tmp_path / choice, comparison=Comparison(near_copies=choice), report=False, verbose=False
        )
        tiny.seed()
        trainer = pl.Trainer(max_steps=2, accelerator="cpu", callbacks=[monitor], **tiny.quiet)
        trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=4))
        values[choice] = monitor.monitor.record.profile
    notes = {
        choice: [note for note in profile.meta.notes if "near copies" in note] for choice, profile in values.items()
    }
    assert notes["separate"] == []
    assert notes["group"] == [
        "near copies among the prompts count once; prompts that are none of each other: t0 9 of 12"
    ]
    apart, together = (values[choice].matrix() for choice in ("separate", "group"))
    assert (apart[0] != together[0]).all()
    assert (apart[1:] == together[1:]).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [({"estimator": "biased"}, 'needs estimator="debiased"'), ({}, 'so it has no comparison.near_copies="group"')],
)
def test_near_copies_are_grouped_only_where_they_can_be(options, match):
    with pytest.raises(ValueError, match=match):
        LayerSimilarityMonitor(mode="passive", comparison=Comparison(near_copies="group", **options))
