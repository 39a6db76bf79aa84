"""A study as a whole: open a plan, look at it, run it, find its results."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning_layerscope.study.engine.local import Report, run_locally
from lightning_layerscope.study.engine.ray import RayOptions, run_on_ray
from lightning_layerscope.study.engine.store import AnyStage, Store
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.checks import check_disk, check_study
from lightning_layerscope.study.prepare.estimate import CostEstimate, estimate
from lightning_layerscope.study.prepare.graph import StudyGraph, build_graph
from lightning_layerscope.study.prepare.model_digest import model_digest
from lightning_layerscope.study.results.results_stage import SUMMARY
from lightning_layerscope.study.results.tracker import log_results
from lightning_layerscope.study.stages.context import MakeStudyContext, StudyContext, load_plan_tasks
from lightning_layerscope.study.stages.controls import CONTROLS, KeptControls, copy_controls
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.training.progress import is_shown
from lightning_layerscope.wording import count

RESULTS = "results"
_LOGGED = "logged.json"


class Study:
    """A plan with its tasks, its stages and its folder.

    Args:
        plan: The plan of the study.

    Attributes:
        plan: The plan.
        context: What the stages share: tasks, models, the folder of results.
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
        tasks = load_plan_tasks(plan)
        self.context = StudyContext(plan, tasks)
        models = {"base": model_digest(plan.model, self.store)}
        if plan.tuned is not None:
            models["tuned"] = model_digest(plan.tuned, self.store)
        controls = KeptControls.load(plan.controls) if plan.controls is not None else None
        self.graph: StudyGraph = build_graph(plan, tasks, models, controls)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Study:
        """Open the study of a plan in YAML."""
        return cls(StudyPlan.from_yaml(path))

    @property
    def store(self) -> Store:
        """The folder with the stages' results."""
        return self.context.store

    def check(self) -> None:
        """Raise :class:`StudyError` for what would fail later."""
        check_study(self.context)
        check_disk(self.plan, estimate(self.graph, self.context, timed=False).bytes)

    def estimate(self) -> CostEstimate:
        """What is still to do, and what it will cost."""
        return estimate(self.graph, self.context)

    def stages(self, only: Sequence[str] = ()) -> list[AnyStage]:
        """The named stages with all they need, or all, in running order."""
        return self.graph.upstream(only or [self.graph.results.name])

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
        if any(stage.trains or isinstance(stage, StatesStage | ImportedStage) for stage in pending):
            self.check()
        if self.plan.executor == "ray":
            self.context.models.drop()
            options = RayOptions(**self.plan.ray.model_dump(), show_output=is_shown())
            run_on_ray(stages, self.store, MakeStudyContext(self.plan, is_shown()), options, report)
        else:
            run_locally(stages, self.context, report)
        if not self.store.done(self.graph.results):
            return None
        folder = self.publish()
        if self.store.remembered(_LOGGED).get("fingerprint") != self.graph.results.fingerprint:
            self.log()
        return folder

    def status(self) -> dict[str, tuple[int, int]]:
        """Kind of stage to (done, in all)."""
        counts: dict[str, tuple[int, int]] = {}
        for stage in self.graph.stages.values():
            done, count = counts.get(stage.kind, (0, 0))
            counts[stage.kind] = done + self.store.done(stage), count + 1
        return counts

    def note_on_earlier_stages(self) -> str:
        """What to know of stages that an earlier version of this package left here; empty where it left none."""
        foreign = self.store.foreign()
        if not foreign:
            return ""
        readable = f" The results in {self.results} can be read as before, until a new run has finished."
        return (
            f"{count(foreign, 'stage')} in {self.store.stages} of an earlier version of this package will not be used; "
            "what they hold is made anew. Set output_dir to another folder to keep them apart, or delete them."
            + (readable if self.results.is_dir() else "")
        )

    @property
    def results(self) -> Path:
        """Where the results are, once they are there."""
        return self.store.root / RESULTS

    def log(self) -> None:
        """Log the published results to the plan's tracker, to the same run as before; nothing where it names none.

        The results are in files by then. A tracker that fails is therefore a warning, not an error: it says how to log
        them again.
        """
        if self.plan.wandb is None:
            return
        try:
            log_results(self.graph.results, self.store, self.plan, self.results)
        except Exception as error:
            warnings.warn(
                f"layerscope: the study's results are in {self.results}, but W&B could not take them ({error!r}); "
                "layerscope study report logs them again",
                stacklevel=2,
            )
            return
        self.store.remember(_LOGGED, {"fingerprint": self.graph.results.fingerprint})

    def publish(self) -> Path:
        """Copy the stage's results, and the controls that were trained, to ``results/``, in place of older ones.

        Raises:
            FileNotFoundError: If there are none yet.
        """
        stage = self.graph.results
        if not self.store.done(stage):
            done = sum(self.store.done(each) for each in self.graph.stages.values())
            raise FileNotFoundError(
                f"the study has no results yet: {done} of {len(self.graph.stages)} stages are done; "
                "continue it with layerscope study run"
            )
        written = stage.load(self.store)
        with self.store.replace(RESULTS, marker=SUMMARY) as folder:
            shutil.copytree(written.folder, folder, dirs_exist_ok=True)
            if (folder / CONTROLS).is_dir():
                copy_controls(folder / CONTROLS, self.store)
        return self.results
