"""Warnings are at a line of the user's, also where a trainer stands between the user and the package."""

import pytest

from lightning_layerscope.notices import warn_user


@pytest.mark.parametrize(
    "package", ["pytorch_lightning.trainer.call", "lightning.pytorch", "transformers", "trl.trainer"]
)
def test_a_trainers_hooks_are_not_the_users_lines(package):
    trainer = {"__name__": package}
    exec(compile("def fit(hook):\n    hook('a note')", "trainer.py", "exec"), trainer)
    with pytest.warns(UserWarning, match=r"^layerscope: a note$") as told:
        trainer["fit"](warn_user)
    assert told[0].filename == __file__


def test_the_users_own_functions_are():
    own = {"__name__": "train"}
    exec(compile("def fit(hook):\n    hook('a note')", "train.py", "exec"), own)
    with pytest.warns(UserWarning, match="a note") as told:
        own["fit"](warn_user)
    assert (told[0].filename, told[0].lineno) == ("train.py", 2)
