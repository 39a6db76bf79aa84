"""A line now and then in a log, a bar on a terminal, nothing where nobody asked."""

import io
import sys

import pytest

from lightning_layerscope.training import InstructionDataModule, InstructionModule
from lightning_layerscope.training.progress import Progress, is_shown, showing


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def work(clock, steps=10, seconds=20.0, **options):
    with Progress("fine-tuning", steps, unit="steps", clock=clock, **options) as progress:
        for step in range(1, steps + 1):
            clock.now += seconds
            progress.to(step, f"loss {3 - step / 10:.1f}", rows=4 * step)


def test_a_log_gets_a_line_now_and_then(capsys):
    with showing():
        work(Clock())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5  # 200 seconds, every 20 a step, at least 30 apart
    assert lines[0].startswith("fine-tuning: 2 of 10 steps, loss 2.8, 0.2 rows/s, 2:40 left, ends about ")
    assert lines[-1].startswith("fine-tuning: 10 of 10 steps, loss 2.0, 0.2 rows/s, 0:00 left")


def test_short_work_says_at_most_that_it_is_done(capsys):
    with showing():
        work(Clock(), seconds=1.0)
        assert capsys.readouterr().out == ""
        work(Clock(), seconds=1.0, keep=True)
    assert capsys.readouterr().out == "fine-tuning: 10 of 10 steps in 0:10, loss 2.0\n"


def test_nothing_is_shown_unasked(capsys):
    work(Clock(), keep=True)
    with showing(), showing(False):
        assert not is_shown()
        work(Clock(), keep=True)
    assert not is_shown()
    assert capsys.readouterr().out == ""


def test_work_without_a_known_end_names_none(capsys):
    clock = Clock()
    with showing(), Progress("states", None, unit="prompts", clock=clock) as progress:
        clock.now = 40.0
        progress.to(20)
    assert capsys.readouterr().out == "states: 20 prompts, 0.5 prompts/s\n"


@pytest.mark.parametrize("keep", [False, True])
def test_a_terminal_gets_a_bar(monkeypatch, keep):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with showing():
        work(Clock(), keep=keep)
    text = terminal.getvalue()
    assert "fine-tuning: " in text
    assert "\r" in text
    assert text.endswith("\n") is keep  # a bar that is not kept is wiped out
    assert ("10/10" in text.rsplit("\r", 1)[-1]) is keep


def test_a_lightning_training_counts_steps_and_rows(model, tasks, tokenizer, monkeypatch, tmp_path):
    import pytorch_lightning as pl

    from lightning_layerscope.training import lightning_progress

    told = []

    class Kept(Progress):
        def __init__(self, *arguments, **options):
            told.append(arguments)
            super().__init__(*arguments, **options)

        def to(self, done, note="", *, rows=None):
            told.append((done, note.split()[0], rows))

    monkeypatch.setattr(lightning_progress, "Progress", Kept)
    data = InstructionDataModule(tasks, tokenizer, batch_size=4)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=tmp_path,
        callbacks=[lightning_progress.ProgressCallback("multitask")],
    )
    trainer.fit(InstructionModule(model, tokenizer), datamodule=data)
    assert told == [("multitask", 2), (0, "loss", 4), (1, "loss", 8), (1, "loss", 12), (2, "loss", 16)]
