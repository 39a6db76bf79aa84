"""Weights & Biases: scalars, charts of whole profiles, pictures, a table and artifacts."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat.lightning import is_dummy_experiment
from lightning_layerscope.sinks import wandb_files
from lightning_layerscope.sinks.keys import PICTURE_STEP, RESULTS, STEP, KeyPlan, plan_of, profile_key
from lightning_layerscope.sinks.log_rows import measurement_row, summary, table_rows
from lightning_layerscope.sinks.patience import Patience

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.sinks.picture import Picture

_log = logging.getLogger(__name__)

MOST_PICTURED = 100
"""Measurements with pictures per run: W&B advises fewer than 1,000 files, and each has up to seven."""

SECONDS_TO_LOG, SECONDS_TO_FINISH = 10.0, 30.0
"""How long training waits for W&B, which writes to its own process: a dead one may never answer."""


class WandbSink:
    """Logs a run's measurements to a W&B run.

    W&B counts rows, and drops what a user logs with ``step=`` below its count. No row of this sink raises it: each is
    added to the row that the host commits next (``commit=False``), and is committed only where the host has committed
    none since the row of the measurement before, which would be written over. Every row carries ``layerscope/step`` and
    the host's own step. Every key is defined by its own name, never by a pattern.

    Logged per measurement: ``layerscope/<measure>/layer_<l>`` (mean over tasks), ``layerscope/<measure>/cluster/<c>``,
    ``layerscope/transition/start|end`` with ``_low`` and ``_high`` (layers), ``layerscope/seconds``,
    ``layerscope/overhead`` (share of the run's time); as soon as they are drawn, over ``layerscope/picture_step``, the
    pictures ``layerscope/curve/layers`` and ``layerscope/heatmap/*``.
    At the end, in one row: the chart ``layerscope/profile_final`` over the layers (and ``profile_init`` at the start,
    unless the reference is the run's own start) and the table ``layerscope/results``; the profile and the reference as
    artifacts, and the summary. Prompts are never uploaded unless asked.

    Training waits at most 10 s for W&B at a measurement and 30 s at the end; then nothing more is logged to it.

    Args:
        run: a W&B run; rank 1 and higher may pass Lightning's dummy, to which nothing is logged.
        host_step_key: the key under which the host logs its step.
        per_task_keys: also log ``layerscope/<measure>/task/<task>/layer_<l>``: tasks x layers keys.
        upload_prompts: upload the probes, texts included: a file written by ``ProbeSet.save``.
        reference_folder: a bank written by ``ReferenceBank.save``, to be uploaded at the end.

    Raises:
        TypeError: if ``run`` is no W&B run, or ``upload_prompts`` is ``True``, which names no file.
        FileNotFoundError: if ``upload_prompts`` is no file.
    """

    def __init__(
        self,
        run: Any,
        *,
        host_step_key: str = "trainer/global_step",
        per_task_keys: bool = False,
        upload_prompts: str | Path | Literal[False] = False,
        reference_folder: str | Path | None = None,
    ) -> None:
        if not all(hasattr(run, name) for name in ("log", "define_metric", "config", "summary")):
            raise TypeError(
                f"expected a W&B run, got {type(run).__name__}; pass wandb.run or WandbLogger(...).experiment"
            )
        if isinstance(upload_prompts, bool) and upload_prompts:
            raise TypeError(
                "expected upload_prompts to be the file to upload, got True; pass the path that probes.save wrote"
            )
        if upload_prompts is not False and not Path(upload_prompts).is_file():
            raise FileNotFoundError(f"expected upload_prompts to be a file of ProbeSet.save, got {upload_prompts!r}")
        self._run = run
        self._silent = is_dummy_experiment(run)
        self._host_step_key = host_step_key
        self._per_task_keys = per_task_keys
        self._prompts = Path(upload_prompts) if upload_prompts else None
        self._reference = None if reference_folder is None else Path(reference_folder)
        self._patience = Patience("W&B")
        self._plan: KeyPlan | None = None
        self._host_step = 0
        self._waiting: tuple[int, int] | None = None  # W&B's count and the step of the row not committed yet
        self._pictured: int | None = None  # W&B's count at the last pictures
        self._finished = False

    arrives = "scalars, charts and pictures to W&B"
    """What is logged where."""

    def start(self, record: RunRecord) -> None:
        """Define the axes and write the configuration."""
        if not self._silent:
            self._patience.call(lambda: self._start(record), SECONDS_TO_LOG)

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log the scalars of one measurement in one row, and the first profile where it says something."""
        if self._silent:
            return
        self._host_step = int(host_step)
        self._patience.call(lambda: self._log(measurement, record), SECONDS_TO_LOG)

    def wants_pictures(self, record: RunRecord) -> bool:
        """Of the first hundred measurements."""
        if len(record.measurements) == MOST_PICTURED + 1 and not self._silent:
            _log.warning("no more pictures are logged to W&B after %d measurements; numbers are", MOST_PICTURED)
        return len(record.measurements) <= MOST_PICTURED and not self._silent

    def log_pictures(self, pictures: Sequence[Picture], *, step: int, host_step: int, last: bool) -> bool:
        """Add the pictures of one measurement to the row that is committed next.

        Where that row holds pictures of another measurement, these have to wait until the host has committed it; at
        the end of the run it is committed here, the one case that raises W&B's count.
        """
        if self._pictured == self._run.step:
            if not last:
                return False
            self._patience.call(lambda: self._run.log({}), SECONDS_TO_LOG)
        self._patience.call(lambda: self._log_pictures(pictures, step), SECONDS_TO_LOG)
        return True

    def alert(self, alert: Alert) -> None:
        """Send an alert of W&B, which goes where the user's account says."""
        if not self._silent:
            title = f"layerscope: {alert.kind}"
            self._patience.call(lambda: self._run.alert(title=title, text=alert.text), SECONDS_TO_LOG)

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Log the last measurement's profile, the table, the summary and the artifacts, once.

        After an exception the same is logged, from the last measurement there is. A part that fails does not keep the
        others from being logged: the first failure is raised at the end.
        """
        if self._silent or self._finished or not record.measurements:
            return
        self._finished = True
        self._patience.call(lambda: self._finish(record, status), SECONDS_TO_FINISH)

    def _start(self, record: RunRecord) -> None:
        for key in (STEP, PICTURE_STEP, self._host_step_key):
            self._run.define_metric(key)
        profile = record.measurements[-1].profile if record.measurements else None
        self._configure(record, profile)
        if profile is not None:
            self._define(record.measurements[-1])

    def _log(self, measurement: Measurement, record: RunRecord) -> None:
        first = self._plan is None
        plan = self._plan or self._define(measurement)
        if first:
            self._configure(record, measurement.profile)
        row: dict[str, Any] = dict(measurement_row(measurement, plan))
        if first and "init" in plan.curves and len(record.measurements) == 1:
            row[profile_key("init")] = wandb_files.profile_chart(measurement, plan, "init")
        self._add(row, measurement.step)
        self._summarise(record, plan)

    def _log_pictures(self, pictures: Sequence[Picture], step: int) -> None:
        with tempfile.TemporaryDirectory() as folder:  # of a file W&B takes a copy; an image it would encode anew
            row: dict[str, Any] = dict(wandb_files.images(pictures, Path(folder)))
            row[PICTURE_STEP] = step
            if self._host_step_key != STEP:  # in a loop, numbers have that step alone, and their row may be another
                row[self._host_step_key] = self._host_step
            self._run.log(row, commit=False)
        self._pictured = self._run.step

    def _finish(self, record: RunRecord, status: str) -> None:
        last, profile = record.measurements[-1], record.profile
        plan = self._plan or self._define(last)
        reference, prompts = self._reference or record.config.get("reference_folder"), self._prompts
        parts: list[Callable[[], Any]] = [
            lambda: self._add({profile_key("final"): wandb_files.profile_chart(last, plan, "final")}, last.step),
            lambda: self._summarise(record, plan),
            lambda: self._log_table(profile),
            lambda: self._log_results(profile, status),
        ]
        if reference:
            folder = Path(reference)
            parts.append(lambda: self._run.log_artifact(wandb_files.reference_artifact(folder, profile.meta)))
        if prompts is not None:
            parts.append(lambda: self._run.log_artifact(wandb_files.prompts_artifact(prompts, profile.meta)))
        failures: list[Exception] = []
        for part in parts:
            try:
                part()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _add(self, row: dict[str, Any], step: int) -> None:
        """Add a row of one measurement to that which the host commits next."""
        if self._waiting is not None and self._waiting[1] != step and self._waiting[0] == self._run.step:
            self._run.log({})  # the host has committed no row since: this one would write over ours
        self._run.log({STEP: step, self._host_step_key: self._host_step, **row}, commit=False)
        self._waiting = (self._run.step, step)

    def _log_table(self, profile: LayerProfile) -> None:
        import wandb

        rows, left_out = table_rows(profile)
        if left_out:
            _log.info("%d rows are left out of the W&B table; the results artifact holds all", left_out)
        table = wandb.Table(columns=list(rows.columns), data=wandb_files.plain_rows(rows))
        self._add({RESULTS: table}, profile.steps[-1])

    def _log_results(self, profile: LayerProfile, status: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._run.log_artifact(wandb_files.results_artifact(self._run.id, profile, status, Path(folder)))

    def _configure(self, record: RunRecord, profile: LayerProfile | None) -> None:
        values = wandb_files.config(record.config, None if profile is None else profile.meta)
        self._run.config.update({"layerscope": values}, allow_val_change=True)

    def _define(self, measurement: Measurement) -> KeyPlan:
        plan = plan_of(measurement, per_task=self._per_task_keys)
        if plan.left_out:
            _log.warning("to keep to W&B's advice on the number of keys, %s have none", "; ".join(plan.left_out))
        if plan.count() > 500:
            _log.warning("%d keys are logged to W&B, which advises a few hundred; per_task_keys=False", plan.count())
        for key in (*plan.scalars(), *plan.media()):
            self._run.define_metric(key, step_metric=STEP)
        for key in plan.pictures():
            self._run.define_metric(key, step_metric=PICTURE_STEP)
        self._plan = plan
        return plan

    def _summarise(self, record: RunRecord, plan: KeyPlan) -> None:
        self._run.summary.update(summary(record.measurements[-1], len(record.measurements), plan))
