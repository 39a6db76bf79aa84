"""Small groups of a plan's settings: tasks, template, probes, Ray, Weights & Biases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Budget = Literal["same_examples", "equal_steps", "converged"]


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
    """How an example becomes a prompt, see ``lightning_layerscope.tasks.PromptTemplate``."""

    text: str = "{instruction}\n{input}\n"
    chat: bool | None = None
    system: str | None = None


class Probes(Settings):
    """The fixed prompts of each task."""

    examples_per_task: Annotated[int, Field(ge=5, le=10_000)] | Literal["all"] = 512
    max_length: Positive = 1024
    token_choice: str = "last_prompt"
    min_examples: Annotated[int, Field(ge=5)] = 32
    """Tasks with fewer test rows are refused, unless fewer are asked for."""
    seed: int = 0
    scored_rows: Annotated[int, Field(ge=5)] | Literal["all"] | None = None
    """Held-out rows of each task on which losses are measured: those of the prompts first, then further ones; empty:
    those of the prompts."""


class ExtraControls(Settings):
    """Further controls for some of the tasks: other seeds for the noise floor, or another budget beside the plan's."""

    tasks: Annotated[list[str], Field(min_length=1)]
    seeds: list[int] | None = None
    """Empty: ``training.control_seeds``."""
    budget: Budget | None = None
    """Empty: what ``training.control_budget`` means for the task."""


class LayerCheck(Settings):
    """The causal check of the tuned model: its layers put back to the base model, and what that does to the answers."""

    rows_per_task: Annotated[int, Field(ge=2)] = 16
    """Held-out rows, of those that losses are measured on."""
    ways: Annotated[list[Literal["alone", "from_bottom", "from_top"]], Field(min_length=1)] = [
        "alone",
        "from_bottom",
        "from_top",
    ]
    """One layer at a time; layers 1 to l together; layers l to the last together."""


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
