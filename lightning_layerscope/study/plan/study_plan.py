"""What a study is: models, tasks, training recipe, probes and measures, read from a YAML file and validated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lightning_layerscope.options import Comparison, Extraction
from lightning_layerscope.study.plan.groups import (
    ExtraControls,
    LayerCheck,
    Positive,
    Probes,
    Ray,
    Settings,
    TaskSource,
    Template,
    Wandb,
)
from lightning_layerscope.study.plan.training import Training
from lightning_layerscope.study.plan.yaml_lines import read_yaml, validate

Measure = Literal[
    "cka",
    "rbf_cka",
    "svcca",
    "procrustes_similarity",
    "procrustes_distance",
    "rsa",
    "mutual_knn",
    "linear_predictivity",
]


_WITHOUT_TRAINING = {"max_length", "accelerator"}
"""Of the recipe, what held-out losses and the measuring of models that exist already need, too."""


class StudyPlan(Settings):
    """A whole study.

    Without ``tuned`` the multi-task model and one control per task are trained; with ``controls`` these exist already.
    Three lines compare two checkpoints that exist:

    ```yaml
    tasks: data/instruct
    model: models/base
    tuned: models/tuned
    ```
    """

    name: str = "study"
    output_dir: str | None = None
    """Default: a folder of the study's name beside the plan."""
    model: str
    """The base model: a folder or a name on the Hugging Face hub."""
    tuned: str | None = None
    """A tuned model (or a peft adapter of the base model) that exists already; nothing is trained then."""
    controls: str | None = None
    """Controls that another study measured: the folder ``controls`` of its results, or of its W&B artifact with the
    banks. None are trained then."""
    tasks: TaskSource
    held_out: list[str] = Field(default=[])
    """Clusters that the multi-task model is not trained on."""
    template: Template = Template()
    training: Training = Training()
    extra_controls: list[ExtraControls] = Field(default=[])
    """Further controls for some of the tasks."""
    probes: Probes = Probes()
    estimator: Literal["debiased", "biased"] = "debiased"
    """The paper used ``biased``, which is inflated where examples are fewer than dimensions."""
    measures: list[Measure] = Field(default=["cka"])
    """``cka`` leads; others stand beside it in the profiles."""
    layer_check: LayerCheck | None = None
    """Empty: none is made; ``{}`` takes its defaults."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Of all intervals."""
    map_layers: list[int] = Field(default=[])
    """Layers whose tasks are drawn in a plane (figure 4); empty: first, a third, middle, two thirds, last."""
    executor: Literal["local", "ray"] = "local"
    ray: Ray = Ray()
    threads: Positive | None = None
    """Torch's threads per stage; the same number gives the same result to the bit."""
    max_tokens_per_batch: Positive = 8192
    """Of one forward pass over probes or held-out rows."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Of the base model's weights in memory; ``auto``: as they are stored."""
    bank_dtype: Literal["float16", "float32"] = "float16"
    """Of stored Gram matrices. ``float16`` is for tasks of 256 prompts and more, at an error in CKA of 2e-6 at most;
    those of smaller tasks are stored in float32 in any case."""
    wandb: Wandb | None = None

    @field_validator("tasks", mode="before")
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("template", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @field_validator("measures")
    @classmethod
    def _cka_leads(cls, measures: list[Measure]) -> list[Measure]:
        if not measures or measures[0] != "cka" or len(set(measures)) < len(measures):
            raise ValueError("expected distinct measures with cka first")
        return measures

    @model_validator(mode="after")
    def _nothing_to_train(self) -> StudyPlan:
        trained = [f"training.{name}" for name in sorted(self.training.model_fields_set - _WITHOUT_TRAINING)]
        trained += [name for name in ("held_out", "extra_controls") if getattr(self, name)]
        if self.tuned is not None and trained:
            what = f"'{trained[0]}'"
            raise ValueError(f"'tuned' names a model that exists already, so {what} has no meaning; remove one side")
        chosen = [f"training.{name}" for name in sorted(self.training.model_fields_set) if name.startswith("control_")]
        chosen += ["extra_controls"] if self.extra_controls else []
        if self.controls is not None and chosen:
            raise ValueError(
                f"'controls' names controls that exist already, so {chosen[0]} has no meaning; remove one of them"
            )
        return self

    @property
    def comparison(self) -> Comparison:
        """How the monitors of the trainings compare: as the study does."""
        return Comparison(estimator=self.estimator)

    @property
    def extraction(self) -> Extraction:
        """How the monitors of the trainings take states: as the study does."""
        return Extraction(max_tokens_per_batch=self.max_tokens_per_batch)

    @property
    def trains(self) -> bool:
        """Whether the study trains the multi-task model, or compares two models that exist."""
        return self.tuned is None

    @classmethod
    def from_yaml(cls, path: str | Path) -> StudyPlan:
        """Read and validate a plan; relative paths in it are relative to its folder.

        Raises:
            PlanError: If the file or a value in it is wrong; the message names each line.
        """
        path = Path(path)
        data, lines = read_yaml(path)
        plan = validate(cls, data, lines, path)
        folder = path.resolve().parent
        tasks = plan.tasks.model_copy(update={"source": _beside(folder, plan.tasks.source)})
        update: dict[str, Any] = {
            "tasks": tasks,
            "model": _beside(folder, plan.model),
            "output_dir": str(folder / (plan.output_dir or plan.name)),
        }
        for key in ("tuned", "controls"):
            if (value := getattr(plan, key)) is not None:
                update[key] = _beside(folder, value)
        return plan.model_copy(update=update)


def _beside(folder: Path, value: str) -> str:
    """A path beside the plan where there is one, else the value as it is (a hub name, ``toy``)."""
    beside = folder / Path(value).expanduser()
    return str(beside.resolve()) if beside.exists() else value
