"""A trial on Ray's workers gives the numbers of one process."""

import pytest

from lightning_layerscope import advise
from lightning_layerscope.advice.trial_recipe import TrialRecipe

ray = pytest.importorskip("ray")
pytest.importorskip("peft")
pytest.importorskip("filelock")

pytestmark = pytest.mark.slow

RECIPE = TrialRecipe(rank=4, train_rows=6, test_rows=4, retention_rows=4, max_length=64, batch_size=6)


def test_two_workers_give_the_verdict_of_one_process(toy, tmp_path):
    model, tokenizer, tasks = toy
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    options = {"rules": ("first", "last"), "trial": True, "seeds": 1, "retention": tasks, "recipe": RECIPE}
    here = advise(tmp_path / "model", tasks, 2, **options, output_dir=tmp_path / "here")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    done = []
    try:
        there = advise(
            tmp_path / "model",
            tasks,
            2,
            **options,
            output_dir=tmp_path / "there",
            executor="ray",
            report=lambda stage, what: done.append((stage, what)),
        )
    finally:
        ray.shutdown()
    trainings = {stage for stage, what in done if what == "done"}
    assert trainings == {"evidence", "training:base@0", "training:first@0", "training:last@0"}
    assert there.verdict.standings == here.verdict.standings
    assert there.ranks == here.ranks
