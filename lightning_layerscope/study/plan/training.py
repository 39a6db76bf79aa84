"""The recipe of a study's trainings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lightning_layerscope.study.plan.groups import Budget, Positive, Settings


class Training(Settings):
    """The recipe of every training in the study; the defaults are the paper's."""

    method: Literal["lora", "full"] = "lora"
    target_modules: list[str] = Field(default=["q_proj", "v_proj"])
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
    max_examples_per_task: Positive | None = None
    """Empty: the cluster's bound alone."""
    precision: str = "32-true"
    """As in Lightning's ``Trainer(precision=...)``; the paper used ``16-mixed``."""
    seed: int = 0
    control_seeds: list[int] = Field(default=[0], min_length=1)
    """One control per task and seed; with several, their spread is the noise floor."""
    control_budget: Literal["auto"] | Budget = "auto"
    """How long a control is trained. ``same_examples``: on its task's examples as often as the multi-task model.
    ``equal_steps``: as many optimiser steps as that. ``converged``: until its loss on rows that are set aside stops
    improving. ``auto``: ``converged`` where ``same_examples`` would be fewer than 1,000 steps, else that."""
    control_max_epochs: Positive = 20
    """Bound of ``converged``; its cosine schedule ends there."""
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
