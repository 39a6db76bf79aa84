"""Groups of options, the same objects in both callbacks, on the command line and in a study's plan.

Everybody's options (what to probe, when, against what) are parameters of their own; what only some need is grouped here
by what it is about. A group is a frozen dataclass that checks itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ALERTS = ("forgetting", "collapse")
"""Kinds of alert."""


@dataclass(frozen=True)
class Schedule:
    """When to measure, beside ``every_n_steps`` and ``at_steps``; all triggers add up.

    Args:
        geometric: Measure at steps that grow by this ratio, above 1. With ratio 2, the default where nothing else says
            when in active mode.
        on_validation_end: Measure at every end of a validation inside training; the default where nothing else says
            when in passive mode.

    Raises:
        ValueError: For a ratio that is not above 1.
    """

    geometric: float | None = None
    on_validation_end: bool = False

    def __post_init__(self) -> None:
        if self.geometric is not None and not 1 < self.geometric < float("inf"):
            raise ValueError(f"geometric is the ratio between steps and must be above 1, got {self.geometric}.")


@dataclass(frozen=True)
class Extraction:
    """How hidden states are taken from the model, beside ``layers`` and ``forward``.

    Args:
        layer_modules: Where the layers are, if they are not found: ``"encoder.blocks"`` or a pattern ``"blocks.*"``.
        embeddings: Measure layer 0, what goes into the first layer, too.
        max_tokens_per_batch: Bound of the padded tokens in one forward pass; default 1,024 on the CPU and 8,192
            elsewhere.
        ranks: With several processes ``"share"`` gives each a part of the tasks; ``"zero"`` leaves all to rank 0.

    Raises:
        ValueError: For a bound below 1, or another word for ``ranks``.
    """

    layer_modules: str | None = None
    embeddings: bool = False
    max_tokens_per_batch: int | None = None
    ranks: Literal["share", "zero"] = "share"

    @property
    def keywords(self) -> dict[str, Any]:
        """For :func:`~lightning_layerscope.extract_hidden_states`."""
        return {
            "layer_modules": self.layer_modules,
            "embeddings": self.embeddings,
            "max_tokens_per_batch": self.max_tokens_per_batch,
        }

    def __post_init__(self) -> None:
        check_choice("ranks", self.ranks, ("share", "zero"))
        if self.max_tokens_per_batch is not None and self.max_tokens_per_batch < 1:
            raise ValueError(f"max_tokens_per_batch must be at least 1, got {self.max_tokens_per_batch}.")


@dataclass(frozen=True)
class Comparison:
    """How hidden states are compared with the reference, beside ``measure`` and ``reference``.

    Args:
        estimator: ``"debiased"`` or the paper's ``"biased"``.
        near_copies: Prompts of one task that are near copies of each other: ``"separate"`` takes them as independent
            examples, which makes similarity look larger and surer than it is; ``"group"`` counts them once and widens
            the intervals. Active mode, debiased estimator.
        mid_run_baseline: What to do when training begins at a later step and the baseline of its beginning is not
            there: ``"refuse"`` to measure, or ``"flag"``: compare with that step, under that name.

    Raises:
        ValueError: For another word, or for grouped copies with the biased estimator.
    """

    estimator: str = "debiased"
    near_copies: Literal["separate", "group"] = "separate"
    mid_run_baseline: Literal["refuse", "flag"] = "refuse"

    def __post_init__(self) -> None:
        check_choice("estimator", self.estimator, ("debiased", "biased"))
        check_choice("near_copies", self.near_copies, ("separate", "group"))
        if self.near_copies == "group" and self.estimator == "biased":
            raise ValueError(
                'near_copies="group" needs estimator="debiased": the biased one compares copies with copies.'
            )
        check_choice("mid_run_baseline", self.mid_run_baseline, ("refuse", "flag"))


@dataclass(frozen=True)
class Signals:
    """What to measure beside the similarity with the reference; active mode alone.

    Those of layers give one curve over layers each and cost no pass through the model: they are read from the states
    that the similarity is computed from, and from the weights. Those of answers give a number per task and share one
    pass over the prompts with their answers.

    Args:
        update: Relative update of each layer's weights, ||dW|| / ||W||, from LoRA's factors; of full tuning against
            what ``update_from`` names.
        update_from: With full tuning: ``"copy"`` keeps the beginning's weights of all layers in the CPU's memory (as
            many bytes as they take in the model), which a resumed run no longer has; or the folder of a checkpoint
            in safetensors, which is read layer by layer at every measurement.
        drift_per_update: 1 - CKA with the reference over that update; with ``measure="cka"``.
        neighbour_similarity: CKA of each layer with the one before it.
        effective_rank: How many dimensions the prompts' states use. Where a layer's falls below half of what it was at
            the beginning, beyond its interval over tasks (of which at least four are needed), that is an alert.
        separability: How far apart the tasks lie in each layer: scatter between their means over scatter within them;
            its interval is over tasks.
        gradient_conflict: Share of the pairs of tasks whose gradients of the answer loss point apart in each layer,
            beyond their 90 % interval over six groups of prompts; as the interval, the share for which it is sure and
            for which it is possible. Of the layer's trainable weights, projected onto 4,096 numbers where they are
            more: 16 KiB x layers x tasks x 6. A pass backward over all prompts, and the memory of one training step.
        answer_loss: Loss of the probes' own reference answers, per task, in nats per answer token.
        kl: Divergence of the next-word distribution behind each prompt from that at the beginning (with the adapters
            off under ``reference="base"``), in nats. The beginning's 64 likeliest words and the rest as one are kept,
            776 bytes a prompt: a lower bound, and equal where nothing changed among the rest.
        retention_tolerance: With ``retention=``: by how many nats per answer token the loss on what must not be lost
            may rise before that counts. 0 counts every rise that is no chance, also those that nobody would notice.

    Raises:
        ValueError: For a negative tolerance, or ``update_from`` without a signal that reads it.
    """

    update: bool = False
    update_from: str | None = None
    drift_per_update: bool = False
    neighbour_similarity: bool = False
    effective_rank: bool = False
    answer_loss: bool = False
    kl: bool = False
    separability: bool = False
    gradient_conflict: bool = False
    retention_tolerance: float = 0.02

    def __post_init__(self) -> None:
        if not self.retention_tolerance >= 0:
            raise ValueError(f"retention_tolerance must be 0 or more nats, got {self.retention_tolerance}.")

        if self.update_from is not None and not (self.update or self.drift_per_update):
            raise ValueError("update_from says what update is against: set update=True or drift_per_update=True, too.")

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are on."""
        return tuple(name for name, on in vars(self).items() if on is True)


@dataclass(frozen=True)
class Actions:
    """What the monitor does with what it finds: the only options that change a run, and none of them is on by itself.

    Args:
        callback_metrics: Put the numbers of every measurement into the ``callback_metrics`` of Lightning's trainer,
            under the keys that loggers get, so that ``EarlyStopping`` and ``ModelCheckpoint`` can watch them:
            ``monitor="layerscope/retention/loss"``.
        stop_when: The alerts that end training, in the measurement that gives them: ``"forgetting"``, ``"collapse"``,
            or both.
        alerts: Have alerts sent by the trackers that can (W&B, Trackio), to wherever your account says; they stand in
            the log, the report and the files in any case.

    Raises:
        ValueError: For an alert that there is not.
    """

    callback_metrics: bool = False
    stop_when: str | Sequence[str] = ()
    alerts: bool = False

    def __post_init__(self) -> None:
        for kind in self.stop_kinds:
            check_choice("stop_when", kind, ALERTS)

    @property
    def stop_kinds(self) -> tuple[str, ...]:
        """Those of ``stop_when``."""
        return (self.stop_when,) if isinstance(self.stop_when, str) else tuple(self.stop_when)

    @property
    def asked(self) -> bool:
        """Whether processes have to know of what was found."""
        return self.callback_metrics or bool(self.stop_kinds)


@dataclass(frozen=True)
class Output:
    """What becomes of the results, beside ``output_dir``, ``report`` and ``loggers``.

    Args:
        name: Name of the results' folder, of the state in the checkpoint, and in front of the logged keys; two monitors
            in one run need different ones.
        task_keys: Log a key per task and layer, too.
        upload_prompts: Upload the prompts' texts to W&B; by default they stay on this machine.
        upload_reference: Upload the reference to W&B, as an artifact that other runs can be compared with
            (``reference="wandb:..."``).
        upload_report: Upload the HTML report to W&B, in the artifact of the results.

    Raises:
        ValueError: For a name that is no folder's name.
    """

    name: str = "layerscope"
    task_keys: bool = False
    upload_prompts: bool = False
    upload_reference: bool = False
    upload_report: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.name):
            raise ValueError(f"name becomes a folder's name: use A-Z, a-z, 0-9, '.', '_' and '-', got {self.name!r}.")


@dataclass(frozen=True)
class Passive:
    """What passive mode reads of your own validation.

    Args:
        tasks: Names of the validation dataloaders, in their order, where they are no dict.
        clusters: Cluster of each task; default is a cluster per task.
        token_choice: Which token of a prompt stands for it: ``"last_prompt"``, ``"mean_prompt"`` or ``"first_<k>"``.
        examples_per_task: How many examples to keep of each task; the first ones are.

    Raises:
        ValueError: For fewer than one example, or a name that stands twice.
    """

    tasks: Sequence[str] | None = None
    clusters: dict[str, str] = field(default_factory=dict)
    token_choice: str = "last_prompt"
    examples_per_task: int = 256

    def __post_init__(self) -> None:
        if self.examples_per_task < 1:
            raise ValueError(f"examples_per_task must be at least 1, got {self.examples_per_task}.")
        if self.tasks is not None and len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"each dataloader needs a name of its own, got tasks={list(self.tasks)}.")


def check_choice(key: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse a word that an option does not know.

    Raises:
        ValueError: Names the words that there are, and the one that was probably meant.
    """
    if value not in allowed:
        raise ValueError(
            f"{key} must be one of {', '.join(map(repr, allowed))}, got {value!r}.{did_you_mean(value, allowed)}"
        )


def did_you_mean(word: Any, choices: Sequence[str]) -> str:
    """The end of a message about a word that is close to one of the choices; empty where none is.

    Example:
        >>> did_you_mean("inital", ["initial", "base"])
        ' Did you mean "initial"?'
    """
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
