"""A study as a whole: open a plan, look at it, run it, find its results."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_layerscope.atomic import replace_folder
from lightning_layerscope.study.checks import check_disk, check_study
from lightning_layerscope.study.controls import CONTROLS, Controls, copy_controls
from lightning_layerscope.study.estimate import Estimate, estimate
from lightning_layerscope.study.execute import Report, run_locally
from lightning_layerscope.study.graph import StudyGraph, build_graph
from lightning_layerscope.study.models import model_digest
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.runner import StudyRunner, load_plan_tasks
from lightning_layerscope.study.stage_results import SUMMARY
from lightning_layerscope.study.store import Stage, Store


class Study:
    """A plan with its tasks, its stages and its folder.

    Args:
        plan: Of the study.

    Attributes:
        plan: The plan.
        store: The folder with the stages' results.
        runner: Does the stages' work.
        graph: The stages.

    Raises:
        FileNotFoundError: If tasks or models are not there.
        ValueError: If tasks are malformed, or the plan names clusters that are not there or controls of other tasks
            or of another base model.

    Example:
        >>> study = Study.from_yaml("study.yaml")    # doctest: +SKIP
        >>> study.run()    # doctest: +SKIP
    """

    def __init__(self, plan: StudyPlan) -> None:
        self.plan = plan
        self.store = Store(plan.output_dir or plan.name)
        tasks = load_plan_tasks(plan)
        cache = self.store.root / "digests.json"
        models = {"base": model_digest(plan.model, cache)}
        if plan.tuned is not None:
            models["tuned"] = model_digest(plan.tuned, cache)
        self.runner = StudyRunner(plan, tasks)
        controls = Controls.load(plan.controls) if plan.controls is not None else None
        self.graph: StudyGraph = build_graph(plan, tasks, models, controls)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Study:
        """Open the study of a plan in YAML."""
        return cls(StudyPlan.from_yaml(path))

    def check(self) -> None:
        """Raise :class:`StudyError` for what would fail later."""
        check_study(self.plan, self.runner)
        check_disk(self.plan, estimate(self.plan, self.graph, self.store, self.runner, timed=False).bytes)

    def estimate(self) -> Estimate:
        """What is still to do, and what it will cost."""
        return estimate(self.plan, self.graph, self.store, self.runner)

    def stages(self, only: Sequence[str] = ()) -> list[Stage]:
        """The named stages with all they need, or all, in running order."""
        return self.graph.upstream(only or ["results"])

    def run(self, only: Sequence[str] = (), report: Report = lambda stage, what: None) -> Path | None:
        """Make what is not there yet.

        Args:
            only: Names of stages: these and what they need. All by default.
            report: Told of each stage and what became of it.

        Returns:
            The folder with the results, when they are among the stages.

        Raises:
            StudyError: If something would fail later; before anything is trained.
        """
        stages = self.stages(only)
        pending = [stage for stage in stages if not self.store.done(stage)]
        if any(stage.trains or stage.kind in ("states", "import") for stage in pending):
            self.check()
        if self.plan.executor == "ray":
            from lightning_layerscope.study.ray import run_on_ray

            self.runner.room.drop()
            run_on_ray(stages, self.store, self.plan, report)
        else:
            run_locally(stages, self.store, self.runner, report)
        return self.publish() if self.store.done(self.graph.stages["results"]) else None

    def status(self) -> dict[str, tuple[int, int]]:
        """Kind of stage to (done, in all)."""
        found: dict[str, tuple[int, int]] = {}
        for stage in self.graph.stages.values():
            done, count = found.get(stage.kind, (0, 0))
            found[stage.kind] = done + self.store.done(stage), count + 1
        return found

    @property
    def results(self) -> Path:
        """Where the results are, once they are there."""
        return self.store.root / "results"

    def publish(self) -> Path:
        """Copy the stage's results, and the controls that were trained, to ``results/``, in place of older ones.

        Raises:
            FileNotFoundError: If there are none yet.
        """
        stage = self.graph.stages["results"]
        if not self.store.done(stage):
            done = sum(self.store.done(each) for each in self.graph.stages.values())
            raise FileNotFoundError(
                f"the study has no results yet: {done} of {len(self.graph.stages)} stages are done; "
                "continue it with layerscope study run"
            )
        with replace_folder(self.results, overwrite=True, marker=SUMMARY) as passing:
            shutil.copytree(self.store.folder(stage), passing, dirs_exist_ok=True)
            if (passing / CONTROLS).is_dir():
                copy_controls(passing / CONTROLS, self.store)
        return self.results
