"""A training loop of one's own, plain and with Accelerate: the promises of the callbacks, kept by `ls.watch`."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

import lightning_layerscope as ls
from lightning_layerscope.callbacks import Extraction, Output, Passive, Schedule

OPTIONS = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}


def steps_of(tiny, model, count=6, *, first=0, optimizer=None):
    """Train; gives the number of each optimiser step after it was taken."""
    rows = tiny.rows()
    optimizer = optimizer or torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), 1e-2)
    for step in range(first, count):
        batch = rows[torch.randperm(len(rows))[:4]]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield step + 1, loss.item()


def train(tiny, make=None, watch=lambda model: contextlib.nullcontext(), act=None, count=6):
    """A whole training: what it leaves behind, and its monitor."""
    tiny.seed()
    model = (make or tiny.llama)()
    with watch(model) as monitor:
        losses = []
        for step, loss in steps_of(tiny, model, count):
            losses.append(loss)
            if act is not None and step == 2:
                act(model)
            if monitor is not None:
                monitor.step(step)
    return tiny.fingerprint(_Fitted(model, losses)), monitor


class _Fitted(torch.nn.Module):
    def __init__(self, model, losses):
        super().__init__()
        self.model, self.losses = model, losses


def train_to(last, tiny, model, monitor, optimizer=None, keep=None):
    """A training that breaks off behind a step; with a checkpoint of the step before it."""
    with monitor:
        for step, _ in steps_of(tiny, model, optimizer=optimizer):
            monitor.step(step)
            if keep is not None and step == last - 1:
                torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, keep)
            if step == last:
                raise ArithmeticError


def watching(tiny, out, **options):
    probes = tiny.probes(tasks=3, examples=6)
    return lambda model: ls.watch(model, probes, output_dir=out, **{**OPTIONS, **options})


def lora():
    peft = pytest.importorskip("peft")

    def make(tiny):
        torch.manual_seed(1)
        settings = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        return peft.get_peft_model(tiny.llama(), settings)

    return make


@pytest.mark.parametrize("reference", ["initial", "base"])
def test_training_is_bitwise_the_same_and_the_numbers_are_true(tiny, tmp_path, reference):
    make = None if reference == "initial" else lambda: lora()(tiny)
    plain, _ = train(tiny, make)
    watched, monitor = train(tiny, make, watching(tiny, tmp_path / "out", reference=reference))
    assert tiny.differences(plain, watched) == []
    assert not monitor.monitor.failures.counts
    record = ls.RunRecord.load(tmp_path / "out")
    assert record.steps == [0, 2, 4, 6]
    probes, fresh = tiny.probes(tasks=3, examples=6), (make or tiny.llama)()
    bank = ls.ReferenceBank.load(tmp_path / "out" / "reference")
    fresh.load_state_dict({name.removeprefix("model."): tensor for name, tensor in watched.tensors.items()
                           if name.startswith("model.")})  # fmt: skip
    true = ls.compare(ls.extract_hidden_states(fresh.eval(), probes), bank)
    assert record.profile.matrix(step=6) == pytest.approx(true.matrix(), abs=1e-5)
    assert (true.matrix() < 0.999).any()


def test_the_comparison_can_fail(tiny, tmp_path):
    plain, _ = train(tiny)
    harmed, _ = train(tiny, act=lambda model: model(input_ids=torch.arange(3, 9).expand(2, -1)))
    assert tiny.differences(plain, harmed)


def test_steps_are_counted_where_no_number_is_given(tiny, tmp_path):
    model = tiny.llama()
    with watching(tiny, tmp_path / "out")(model) as monitor:
        for _ in steps_of(tiny, model, 5):
            monitor.step()
    assert monitor.monitor.record.steps == [0, 2, 4, 5]


def test_a_notebook_starts_and_closes_it_without_a_block(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = tiny.llama()
    monitor = ls.watch(model, tiny.probes(tasks=2, examples=6), at_steps=[1], report=False, max_overhead=None)
    assert monitor.start() is monitor
    for step, _ in steps_of(tiny, model, 2):
        monitor.step(step)
    monitor.close()
    monitor.close()
    assert ls.RunRecord.load(tmp_path / "layerscope").steps == [0, 1, 2]
    assert "logs to files only" in capsys.readouterr().out


def test_without_a_baseline_a_step_says_how_to_get_one(tiny):
    monitor = ls.watch(tiny.llama(), tiny.probes(tasks=2, examples=6))
    with pytest.raises(
        RuntimeError, match=r"open it with `with monitor:`, or call monitor\.start\(\), before the first"
    ):
        monitor.step(1)


def test_a_second_start_and_what_is_no_number_are_refused(tiny, tmp_path):
    with watching(tiny, tmp_path / "out")(tiny.llama()) as monitor:
        with pytest.raises(RuntimeError, match="started already"):
            monitor.start()
        with pytest.raises(TypeError):
            monitor.step("3")


def test_a_step_after_the_end_is_told_once(tiny, tmp_path):
    monitor = watching(tiny, tmp_path / "out")(tiny.llama())
    with monitor:
        monitor.step(1)
    with pytest.warns(RuntimeWarning, match="after the end of this training: nothing is measured any more"):
        monitor.step(2)
    monitor.step(3)


@pytest.mark.parametrize("state", [{"model": {}, "monitor": {"step": 2}}, {}, None, "checkpoint.pt"])
def test_what_is_no_state_of_a_monitor_is_refused(tiny, tmp_path, state):
    """It would take a new baseline in the middle of training."""
    monitor = watching(tiny, tmp_path / "out")(tiny.llama())
    with pytest.raises(
        ValueError, match=r'expected what a monitor\'s state_dict\(\) gave, got .*checkpoint\["monitor"\]'
    ):
        monitor.load_state_dict(state)


def test_two_monitors_whose_numbers_would_mix_are_told(tiny, tmp_path):
    class Logger:
        def log_metrics(self, row, step):
            pass

    model, logger = tiny.llama(), Logger()
    first, second, third = (
        ls.watch(model, tiny.probes(tasks=2, examples=6), report=False, loggers=each, output_dir=tmp_path / name)
        for name, each in (("one", logger), ("two", logger), ("three", Logger()))
    )
    with first:
        with third:  # a logger of its own
            pass
        with pytest.warns(
            RuntimeWarning, match=r'another monitor of this name logs to the same .*Output\(name="\.\.\."\)'
        ):
            second.start()
        second.close()
    with ls.watch(model, tiny.probes(tasks=2, examples=6), report=False, loggers=logger, output_dir=tmp_path / "after"):
        pass  # one after the other


def test_steps_that_begin_anew_with_each_epoch_are_told(tiny, tmp_path):
    model = tiny.llama()
    with watching(tiny, tmp_path / "out")(model) as monitor:
        monitor.step(3)
        with pytest.warns(RuntimeWarning, match="step 1 came after step 3: steps count from the beginning"):
            monitor.step(1)
        monitor.step(2)  # once
    assert monitor.monitor.record.steps == [0, 3]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "passive", "passive": Passive()}, ValueError, "of the callbacks for trainers"),
        ({"schedule": Schedule(on_validation_end=True)}, ValueError, "every_n_steps, at_steps"),
        ({"every_n_step": 3}, TypeError, "every_n_step"),
        ({"reference": "inital"}, ValueError, 'Did you mean "initial"'),
        ({"autocast": torch.autocast("cpu", torch.bfloat16)}, TypeError, "a function that opens the context"),
    ],
)
def test_what_is_configured_wrongly_is_told_at_once(tiny, options, error, words):
    probes = None if "mode" in options else tiny.probes(tasks=2, examples=6)
    with pytest.raises(error, match=words):
        ls.watch(tiny.llama(), probes, **options)
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module to watch, got str"):
        ls.watch("model", probes)


def test_what_the_model_cannot_do_ends_the_block_before_the_first_step(tiny, tmp_path):
    with (
        pytest.raises(ValueError, match='use reference="initial"'),
        watching(tiny, tmp_path / "out", reference="base")(tiny.llama()),
    ):
        raise AssertionError("the block was entered")


def test_a_measurement_that_fails_is_a_warning_and_training_goes_on(tiny, tmp_path, monkeypatch):
    from lightning_layerscope.monitor import active

    real = active.extract_hidden_states
    calls = []

    def fails_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("no room")
        return real(*args, **kwargs)

    monkeypatch.setattr(active, "extract_hidden_states", fails_once)
    with pytest.warns(RuntimeWarning, match="measurement failed at step 2: MemoryError: no room") as told:
        _, monitor = train(tiny, watch=watching(tiny, tmp_path / "out"))
    assert __file__ in {warning.filename for warning in told}, "at the user's own line"
    assert monitor.monitor.record.steps == [0, 4, 6]
    assert monitor.monitor.failures.counts == {"measurement": 1}


def test_what_the_budget_does_not_allow_is_left_out_and_counted(tiny, tmp_path):
    _, monitor = train(tiny, watch=watching(tiny, tmp_path / "out", max_overhead=1e-6))
    assert monitor.monitor.record.steps == [0, 6]
    assert monitor.monitor.choice.skipped == 2


def test_an_exception_in_the_block_passes_and_the_last_measurement_is_logged(tiny, tmp_path):
    ends = []
    sink = SimpleNamespace(
        start=lambda record: None,
        log=lambda *_: None,
        finish=lambda record, status: ends.append((record.steps, status)),
    )
    model = tiny.llama()
    monitor = watching(tiny, tmp_path / "out", loggers=sink)(model)
    with pytest.raises(ArithmeticError):
        train_to(3, tiny, model, monitor)
    assert ends == [([0, 2], "exception")]
    monitor.step(4)
    assert ls.RunRecord.load(tmp_path / "out").steps == [0, 2]


def test_loggers_are_one_or_several_or_named(tiny, tmp_path):
    rows = []
    logger = SimpleNamespace(log_metrics=lambda row, step: rows.append((step, row)))
    for given in (logger, [logger], {"mine": logger}):
        rows.clear()
        train(tiny, watch=watching(tiny, tmp_path / "out", loggers=given), count=2)
        assert [step for step, _ in rows] == [0, 2]
        assert rows[0][1]["layerscope/cka/layer_01"] == pytest.approx(1)
    assert watching(tiny, tmp_path / "out", loggers=None)(tiny.llama()).settings.loggers == ()


@pytest.mark.draws
def test_wandb_and_tensorboard_get_numbers_and_pictures_under_the_steps_of_the_loop(tiny, tmp_path):
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from tests.offline_run import read_offline

    run = wandb.init(mode="offline", dir=tmp_path / "wandb", project="test")
    model = tiny.llama()
    writer = SummaryWriter(tmp_path / "board")
    with writer, watching(tiny, tmp_path / "out", loggers=[run, writer])(model) as monitor:
        for step, loss in steps_of(tiny, model):
            run.log({"loss": loss}, step=step)
            monitor.step(step)
    run.finish()
    wandb.teardown()
    found = read_offline(tmp_path / "wandb")
    assert [row["layerscope/step"] for row in found.history if "layerscope/cost/seconds" in row] == [0, 2, 4, 6]
    assert [row["_step"] for row in found.history if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [key for key in found.metrics if "global_step" in key] == [], "a loop has no step but its own"
    assert found.column("layerscope/picture_step") == [0, 2, 4, 6]
    assert all(any("heatmap" in key for key in row) for row in found.history if "layerscope/picture_step" in row)
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Scalars("layerscope/cka/layer_04")] == [0, 2, 4, 6]
    assert "layerscope/curve/layers" in events.Tags()["images"]


def test_a_resumed_loop_goes_on_with_its_run_and_its_reference(tiny, tmp_path):
    model = tiny.llama()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    monitor = watching(tiny, tmp_path / "out")(model)
    with pytest.raises(ArithmeticError):
        train_to(4, tiny, model, monitor, optimizer, keep=tmp_path / "checkpoint.pt")
    digest = monitor.monitor.bank.digest
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    model = tiny.llama()
    model.load_state_dict(kept["model"])
    again = watching(tiny, tmp_path / "out")(model)
    again.load_state_dict(kept["monitor"])
    with again:
        for step, _ in steps_of(tiny, model, first=3):
            again.step(step)
    record = ls.RunRecord.load(tmp_path / "out")
    assert record.steps == [0, 2, 4, 6]
    assert again.monitor.bank.digest == digest == record.profile.meta.reference_digest
    assert not (tmp_path / "out-2").exists()


def test_a_checkpoint_without_a_baseline_is_no_beginning(tiny, tmp_path):
    monitor = watching(tiny, tmp_path / "out")(tiny.llama())
    monitor.load_state_dict({"step": 30})
    with pytest.warns(
        RuntimeWarning, match="training begins at step 30, and the baseline of its beginning is not there"
    ):
        monitor.start()
    monitor.step(31)
    monitor.close()
    assert not monitor.monitor.record.measurements


def test_a_second_training_begins_at_step_0_in_a_folder_of_its_own(tiny, tmp_path):
    model = tiny.llama()
    monitor = watching(tiny, tmp_path / "out")(model)
    for _ in range(2):
        with monitor:
            for step, _ in steps_of(tiny, model, 2):
                monitor.step(step)
    for folder in ("out", "out-2"):
        assert ls.RunRecord.load(tmp_path / folder).steps == [0, 2]


def test_several_monitors_watch_one_training(tiny, tmp_path):
    model, probes = tiny.llama(), tiny.probes(tasks=2, examples=6)
    first = ls.watch(model, probes, output_dir=tmp_path / "one", **OPTIONS)
    second = ls.watch(
        model, probes, output_dir=tmp_path / "two", output=Output(name="early"), layers=[1, 2],
        extraction=Extraction(embeddings=False), **{**OPTIONS, "every_n_steps": 1},
    )  # fmt: skip
    with first, second:
        for step, _ in steps_of(tiny, model, 2):
            first.step(step)
            second.step(step)
    assert ls.RunRecord.load(tmp_path / "one").steps == [0, 2]
    assert ls.RunRecord.load(tmp_path / "two").steps == [0, 1, 2]


def accelerated(tiny, out, *, watched, precision="no", stop=None, resume=None):
    """A training with Accelerate; gives its end, and its monitor."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(True)
    tiny.seed()
    model = tiny.llama()
    loader = torch.utils.data.DataLoader(tiny.rows(), batch_size=4, shuffle=True)
    settings = accelerate.utils.ProjectConfiguration(project_dir=str(out), automatic_checkpoint_naming=False)
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision, project_config=settings)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    monitor, losses, first = None, [], 0
    if watched:
        monitor = ls.watch(model, tiny.probes(tasks=3, examples=6), accelerator=accelerator, **OPTIONS)
        accelerator.register_for_checkpointing(monitor)
    if resume is not None:
        accelerator.load_state(str(resume))
        first = 3
    with monitor or contextlib.nullcontext():
        for step, batch in zip(range(first + 1, 7), loader, strict=False):
            loss = model(input_ids=batch, labels=batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if monitor is not None:
                monitor.step(step)
            if step == stop:
                accelerator.save_state(str(out / "kept"))
    return tiny.fingerprint(_Fitted(accelerator.unwrap_model(model), losses)), monitor


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate_trains_bitwise_the_same_in_its_precision(tiny, tmp_path, precision):
    plain, _ = accelerated(tiny, tmp_path / "plain", watched=False, precision=precision)
    watched, monitor = accelerated(tiny, tmp_path / "watched", watched=True, precision=precision)
    assert tiny.differences(plain, watched) == []
    assert not monitor.monitor.failures.counts
    record = ls.RunRecord.load(tmp_path / "watched" / "layerscope")
    assert record.steps == [0, 2, 4, 6]
    assert record.profile.matrix(step=0) == pytest.approx(1, abs=1e-5)


def test_accelerate_keeps_the_monitor_in_its_checkpoints(tiny, tmp_path):
    _, first = accelerated(tiny, tmp_path, watched=True, stop=3)
    _, again = accelerated(tiny, tmp_path, watched=True, resume=tmp_path / "kept")
    assert again.monitor.record.run_id == first.monitor.record.run_id
    record = ls.RunRecord.load(tmp_path / "layerscope")
    assert record.steps == [0, 2, 4, 6]
    assert record.profile.meta.reference_digest == first.monitor.bank.digest


@pytest.mark.draws
def test_trackers_of_accelerate_are_logged_to(tiny, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = []

    class Other(accelerate.tracking.GeneralTracker):
        name, requires_logging_directory = "other", False
        main_process_only = True

        def __init__(self):
            super().__init__()

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            pass

        def log(self, values, step=None, **kwargs):
            rows.append((step, values))

    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True, log_with=["tensorboard", Other()], project_dir=str(tmp_path))
    accelerator.init_trackers("board")
    model = accelerator.prepare(tiny.llama())
    with ls.watch(model, tiny.probes(tasks=2, examples=6), accelerator=accelerator, **OPTIONS) as monitor:
        for step, _ in steps_of(tiny, model, 2):
            monitor.step(step)
    accelerator.end_training()
    assert [step for step, _ in rows] == [0, 2]
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Scalars("layerscope/cka/layer_04")] == [0, 2]
    assert "layerscope/curve/layers" in events.Tags()["images"]


@pytest.mark.draws
def test_a_folder_that_cannot_be_made_is_told_without_a_promise(tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monitor = ls.watch(
        tiny.llama(), tiny.probes(tasks=2, examples=6), output_dir=tmp_path / "file" / "out", max_overhead=None
    )
    with pytest.warns(RuntimeWarning) as caught, monitor:
        pass
    told = [str(one.message) for one in caught]
    assert [text for text in told if f"see to it that {tmp_path / 'file' / 'out'} can be written to" in text]
    assert not [text for text in told if "layerscope report" in text], "there is nothing that it could read"
    assert monitor.monitor.record.steps == [0]
