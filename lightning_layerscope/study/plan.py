"""What a study is: models, tasks, training recipe, probes and measures, read from a YAML file and validated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lightning_layerscope.study.yaml_lines import read_yaml, validate

Positive = Annotated[int, Field(gt=0)]
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


class Settings(BaseModel):
    """Base of all settings: unknown names are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSource(Settings):
    """Where the tasks come from."""

    source: str
    """``toy``, ``flan``, a folder of JSONL or one written by ``save_to_disk``, or a name on the Hugging Face hub."""
    columns: dict[str, str] = {}
    """Field to column, where the source names its columns otherwise."""
    clusters: dict[str, str] = {}
    """Task to cluster; goes before what the source says."""
    select: list[str] = []
    """Only these tasks; empty: all."""
    train_split: str = "train"
    test_split: str = "test"


class Template(Settings):
    """How an example becomes a prompt, see `lightning_layerscope.tasks.PromptTemplate`."""

    text: str = "{instruction}\n{input}\n"
    chat: bool = False
    system: str | None = None


class Training(Settings):
    """The recipe of every training in the study; the defaults are the paper's."""

    method: Literal["lora", "full"] = "lora"
    target_modules: list[str] = ["q_proj", "v_proj"]
    rank: Positive = 8
    alpha: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak of a cosine schedule."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Positive = 3
    batch_size: Positive = 4
    accumulate: Positive = 4
    """Batches per optimiser step."""
    max_length: Positive = 1024
    """Tokens of prompt and answer together."""
    max_examples_per_cluster: Positive = 50_000
    precision: str = "32-true"
    """As in Lightning's ``Trainer(precision=...)``; the paper used ``16-mixed``."""
    seed: int = 0
    control_seeds: Annotated[list[int], Field(min_length=1)] = [0]
    """One control per task and seed; with several, their spread is the noise floor."""
    control_budget: Literal["same_examples", "equal_steps"] = "same_examples"
    """Controls see their task's examples as often as the multi-task model does, or take as many optimiser steps."""
    monitor_every_n_steps: Positive | None = None
    """Measurements during a training; empty: only the first and the last."""
    monitor_examples: Annotated[int, Field(ge=5)] = 64
    """Prompts of each task that are measured during a training; afterwards it is all of them."""
    accelerator: str = "auto"
    """As in Lightning's ``Trainer``, like the next two."""
    devices: int | str = 1
    strategy: str = "auto"

    @field_validator("strategy")
    @classmethod
    def _stays_in_this_program(cls, strategy: str) -> str:
        if strategy != "auto" and not strategy.endswith(("_spawn", "_fork", "_notebook")):
            raise ValueError(
                "strategies that start the program once more would wait for this program's stage; "
                "use 'auto' on one device, 'ddp_spawn' or 'ddp_fork' on several"
            )
        return strategy

    @model_validator(mode="after")
    def _several_devices(self) -> Training:
        if str(self.devices) != "1" and self.strategy == "auto":
            raise ValueError("several devices need a strategy: 'ddp_spawn' or 'ddp_fork'")
        return self

    @field_validator("control_seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("the seeds must differ: two controls of one seed are the same model")
        return seeds


class Probes(Settings):
    """The fixed prompts of each task."""

    examples_per_task: Annotated[int, Field(ge=5, le=10_000)] | Literal["all"] = 512
    max_length: Positive = 1024
    token_choice: str = "last_prompt"
    min_examples: Annotated[int, Field(ge=5)] = 32
    """Tasks with fewer test rows are refused, unless fewer are asked for."""
    seed: int = 0


class Ray(Settings):
    """How stages become Ray tasks."""

    address: str | None = None
    """Of a running cluster; empty: a Ray on this machine."""
    workers: Positive = 2
    """Workers of a Ray on this machine."""
    cpus_per_stage: Annotated[float, Field(gt=0)] = 1
    gpus_per_stage: Annotated[float, Field(ge=0)] = 0
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a stage whose worker died is tried again."""


class Wandb(Settings):
    """Where the study's runs are logged."""

    project: str
    entity: str | None = None
    mode: Literal["online", "offline"] = "online"


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
    held_out: list[str] = []
    """Clusters that the multi-task model is not trained on."""
    template: Template = Template()
    training: Training = Training()
    probes: Probes = Probes()
    estimator: Literal["debiased", "biased"] = "debiased"
    """The paper used ``biased``, which is inflated where examples are fewer than dimensions."""
    measures: list[Measure] = ["cka"]
    """``cka`` leads; others stand beside it in the profiles."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Of all intervals."""
    map_layers: list[int] = []
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
        recipe = self.training.model_fields_set - _WITHOUT_TRAINING
        if self.tuned is not None and (recipe or self.held_out):
            what = f"'training.{min(recipe)}'" if recipe else "'held_out'"
            raise ValueError(f"'tuned' names a model that exists already, so {what} has no meaning; remove one side")
        chosen = {"control_seeds", "control_budget"} & self.training.model_fields_set
        if self.controls is not None and chosen:
            raise ValueError(
                f"'controls' names controls that exist already, so training.{min(chosen)} has no meaning; "
                "remove one of them"
            )
        return self

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
