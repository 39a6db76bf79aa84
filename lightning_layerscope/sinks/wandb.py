"""Weights & Biases: scalars, charts of whole profiles, pictures, a table and artifacts."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.compat.lightning import is_dummy_experiment
from lightning_layerscope.sinks import wandb_files
from lightning_layerscope.sinks.keys import (
    CLUSTERS,
    PICTURE_STEP,
    PROFILE,
    RESULTS,
    ROOT,
    STEP,
    KeyPlan,
    alert_title,
    plan_of,
    under,
)
from lightning_layerscope.sinks.log_rows import measurement_row, summary, table_rows
from lightning_layerscope.sinks.patience import SECONDS_TO_FINISH, SECONDS_TO_LOG, Patience

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.sinks.picture import Picture

_log = logging.getLogger(__name__)

MOST_PICTURED = 100
"""Measurements with pictures per run: W&B advises fewer than 1,000 files, and each has up to seven."""

UPLOADS = "W&B's store of charts, tables and artifacts"
"""Their calls ask the server, where those of numbers and pictures only reach the process beside training."""


class WandbSink:
    """Logs a run's measurements to a W&B run.

    W&B counts rows, and drops what a user logs with ``step=`` below its count. No row of this sink raises it: each is
    added to the row that the host commits next (``commit=False``), and is committed only where the host has committed
    none since the row of the measurement before, which would be written over. Every row carries ``layerscope/step`` and
    the host's own step. Every key is defined by its own name, never by a pattern.

    Every key is told in ``docs/wandb.md``: numbers per layer, cluster and measurement, the chart of the mean over the
    layers, pictures as soon as they are drawn; at the end the chart of the clusters, the table of all rows, the
    summary, and an artifact of rows and matrices. Reference, report and prompts are uploaded where asked alone. A
    stored reference that came from W&B is told to it as what the run used.

    Training waits at most 10 s, once, for W&B's process beside it, to which nothing more is logged then; and as long
    for a server that does not answer: then charts are left out, numbers and pictures go on, and at the end it is asked
    once more, for 30 s.

    Args:
        run: a W&B run; rank 1 and higher may pass Lightning's dummy, to which nothing is logged.
        host_step_key: the key under which the host logs its step; None where it has none.
        per_task_keys: also log ``layerscope/<measure>/task/<task>/layer_<l>``: tasks x layers keys.
        upload_prompts: upload the probes, texts included: a file written by ``ProbeSet.save``.
        reference_folder: a bank written by ``ReferenceBank.save``, to be uploaded at the end.
        upload_reference: upload the reference of the run's results, too.
        upload_report: upload the HTML report with the results.
        root: where the keys begin: two monitors in one run need different ones.

    Raises:
        TypeError: if ``run`` is no W&B run, or ``upload_prompts`` is ``True``, which names no file.
        FileNotFoundError: if ``upload_prompts`` is no file.
    """

    def __init__(
        self,
        run: Any,
        *,
        host_step_key: str | None = "trainer/global_step",
        per_task_keys: bool = False,
        upload_prompts: str | Path | Literal[False] = False,
        reference_folder: str | Path | None = None,
        upload_reference: bool = False,
        upload_report: bool = False,
        root: str = ROOT,
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
        self._run = self.target = run
        self._silent = is_dummy_experiment(run)
        self._host_step_key = host_step_key
        self._per_task_keys = per_task_keys
        self._prompts = Path(upload_prompts) if upload_prompts else None
        self._reference = None if reference_folder is None else Path(reference_folder)
        self._upload_reference, self._upload_report, self._root = upload_reference, upload_report, root
        self._patience, self._uploads = Patience("W&B"), Patience(UPLOADS)
        self._plan: KeyPlan | None = None
        self._host_step, self._to_use = 0, False
        self._waiting: tuple[int, int] | None = None  # W&B's count and the step of the row not committed yet
        self._pictured: int | None = None  # W&B's count at the last pictures
        self._used: str | None = None  # the artifact that W&B has still to be told of
        self._finished = False

    arrives = "scalars, charts and pictures to W&B"
    """What is logged where."""

    def start(self, record: RunRecord) -> None:
        """Define the axes and write the configuration."""
        if self._silent:
            return
        self._patience.call(lambda: self._start(record), SECONDS_TO_LOG)
        used = record.config.get("reference_artifact")
        if used and not (self._run.offline or self._run.disabled):  # offline it is in the configuration alone
            self._used, self._to_use = used, True

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log the scalars of one measurement in one row, then its profile, and once the reference that is used."""
        if self._silent:
            return
        self._host_step = int(host_step)
        self._patience.call(lambda: self._log(measurement, record), SECONDS_TO_LOG)
        if len(record.measurements) <= MOST_PICTURED and not self._patience.given_up:
            self._uploads.call(lambda: self._log_profile(measurement), SECONDS_TO_LOG)
        if self._to_use and not self._patience.given_up:
            self._to_use = False  # once now, behind all that training waits for, and once more at the end
            self._uploads.call(self._use, SECONDS_TO_LOG)

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
        waits: list[int] = []

        def log() -> None:
            if self._pictured == self._run.step:  # is asked of W&B's process
                if not last:
                    waits.append(step)
                    return
                self._run.log({})
            self._log_pictures(pictures, step)

        self._patience.call(log, SECONDS_TO_LOG)
        return not waits

    def alert(self, alert: Alert) -> None:
        """Send an alert of W&B, which goes where the user's account says."""
        if not self._silent:
            title = alert_title(self._root, alert.kind)
            self._patience.call(lambda: self._run.alert(title=title, text=alert.text), SECONDS_TO_LOG)

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Log the last measurement's profile, the table, the summary and the artifacts, once.

        After an exception the same is logged, from the last measurement there is. A part that fails does not keep the
        others from being logged: the first failure is raised at the end.
        """
        if self._silent or self._finished or not record.measurements:
            return
        self._finished = True
        if not self._patience.given_up:  # a server may have come back
            Patience(UPLOADS).call(lambda: self._finish(record, status), SECONDS_TO_FINISH)

    def _start(self, record: RunRecord) -> None:
        for key in (STEP, PICTURE_STEP):
            self._run.define_metric(under(self._root, key), hidden=True)
        if self._host_step_key is not None:
            self._run.define_metric(self._host_step_key)
        profile = record.measurements[-1].profile if record.measurements else None
        self._configure(record, profile)
        if profile is not None:
            self._define(record.measurements[-1])

    def _log(self, measurement: Measurement, record: RunRecord) -> None:
        first = self._plan is None
        plan = self._plan or self._define(measurement)
        if first:
            self._configure(record, measurement.profile)
        self._add(dict(measurement_row(measurement, plan)), measurement.step)
        self._summarise(record, plan)

    def _log_profile(self, measurement: Measurement) -> None:
        """Add the chart to the row of the numbers; without its steps, which a late one would put into another row."""
        plan = self._plan or self._define(measurement)
        chart = wandb_files.profile_chart(measurement, plan, self._line())
        self._run.log({under(self._root, PROFILE): chart}, commit=False)

    def _use(self) -> None:
        self._run.use_artifact(self._used)
        self._used = None

    def _log_pictures(self, pictures: Sequence[Picture], step: int) -> None:
        with tempfile.TemporaryDirectory() as folder:  # of a file W&B takes a copy; an image it would encode anew
            row = {PICTURE_STEP: step, **wandb_files.images(pictures, Path(folder))}
            rooted = {under(self._root, key): value for key, value in row.items()}
            self._run.log({**self._host(), **rooted}, commit=False)
        self._pictured = self._run.step

    def _finish(self, record: RunRecord, status: str) -> None:
        last, profile, prompts = record.measurements[-1], record.profile, self._prompts
        plan = self._plan or self._define(last)
        charted = len(record.measurements) <= MOST_PICTURED and not self._uploads.given_up
        kept = record.config.get("results_folder")
        folder = None if kept is None else Path(kept)
        reference = folder / "reference" if folder and self._upload_reference else self._reference
        parts: list[Callable[[], Any]] = [
            lambda: self._log_charts(last, plan, pictured=charted),
            lambda: self._summarise(record, plan),
            lambda: self._log_table(profile),
            lambda: self._log_results(profile, status, folder),
        ]
        if self._used:
            parts.append(self._use)
        if reference is not None:
            parts.append(lambda: self._run.log_artifact(wandb_files.reference_artifact(reference, profile.meta)))
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
        rows = self._run.step  # is asked of W&B's process
        if self._waiting is not None and self._waiting[1] != step and self._waiting[0] == rows:
            self._run.log({})  # the host has committed no row since: this one would write over ours
            rows = self._run.step
        self._run.log({**self._host(), under(self._root, STEP): step, **row}, commit=False)
        self._waiting = (rows, step)

    def _host(self) -> dict[str, Any]:
        return {} if self._host_step_key is None else {self._host_step_key: self._host_step}

    def _log_charts(self, last: Measurement, plan: KeyPlan, *, pictured: bool) -> None:
        row = {under(self._root, CLUSTERS): wandb_files.cluster_chart(last, plan)}
        if not pictured:  # the chart that is there is an earlier measurement's
            row[under(self._root, PROFILE)] = wandb_files.profile_chart(last, plan, self._line())
        self._add(row, last.step)

    def _line(self) -> str:
        """Names the run in charts that lie over each other; names alone may be alike."""
        name, ident = getattr(self._run, "name", None), str(self._run.id)
        return f"{name} ({ident})" if name else ident

    def _log_table(self, profile: LayerProfile) -> None:
        import wandb

        rows, left_out = table_rows(profile)
        if left_out:
            _log.info("%d rows are left out of the W&B table; the results artifact holds all", left_out)
        table = wandb.Table(columns=list(rows.columns), data=wandb_files.plain_rows(rows))
        self._add({under(self._root, RESULTS): table}, profile.steps[-1])

    def _log_results(self, profile: LayerProfile, status: str, folder: Path | None) -> None:
        name = f"{self._root}-results-{self._run.id}"
        artifact = wandb_files.results_artifact(name, profile, status, folder=folder, report=self._upload_report)
        self._run.log_artifact(artifact)

    def _configure(self, record: RunRecord, profile: LayerProfile | None) -> None:
        values = wandb_files.config(record.config, None if profile is None else profile.meta)
        self._run.config.update({self._root: values}, allow_val_change=True)

    def _define(self, measurement: Measurement) -> KeyPlan:
        plan = plan_of(measurement, per_task=self._per_task_keys, root=self._root)
        if plan.left_out:
            _log.warning("to keep to W&B's advice on the number of keys, %s have none", "; ".join(plan.left_out))
        if plan.count() > 500:
            _log.warning("%d keys are logged to W&B, which advises a few hundred; per_task_keys=False", plan.count())
        axis, picture_axis = under(self._root, STEP), under(self._root, PICTURE_STEP)
        for key in (*plan.shown(), *plan.charts()):
            self._run.define_metric(key, step_metric=axis)
        for key in (*plan.hidden(), *plan.chart_tables()):
            self._run.define_metric(key, step_metric=axis, hidden=True)
        for key in plan.pictures():
            self._run.define_metric(key, step_metric=picture_axis)
        self._plan = plan
        return plan

    def _summarise(self, record: RunRecord, plan: KeyPlan) -> None:
        self._run.summary.update(summary(record.measurements[-1], len(record.measurements), plan))
