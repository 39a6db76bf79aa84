"""What a monitor is told, checked once, whatever trainer it hangs on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.comparison.measures import MEASURES, check_measure
from lightning_layerscope.monitor.cadence import Cadence
from lightning_layerscope.options import (
    Actions,
    Comparison,
    Extraction,
    Output,
    Passive,
    Schedule,
    Signals,
    check_choice,
    did_you_mean,
)
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.sinks.wandb_reference import check_artifact, is_artifact

_NUMBERS = re.compile(r"\s*(all|last|\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*)\s*")
_GROUPS = {
    "schedule": Schedule,
    "extraction": Extraction,
    "comparison": Comparison,
    "signals": Signals,
    "actions": Actions,
    "output": Output,
    "passive": Passive,
}


@dataclass(frozen=True)
class Settings:
    """Options of a monitor; what they mean is told by :class:`~lightning_layerscope.monitor.callback.MonitorCallback`.

    ``output_dir`` is made absolute here, where the user has written it: a later change of the working directory does
    not move it.

    Raises:
        ValueError: For an unknown word, a value out of range, or an option that the mode does not have.
        TypeError: For an option of another type.
    """

    probes: ProbeSet | str | os.PathLike[str] | None = None
    tokenizer: Any = None
    probe_options: Mapping[str, Any] = field(default_factory=dict)
    reference: ReferenceBank | str | os.PathLike[str] = "initial"
    retention: ProbeSet | str | os.PathLike[str] | None = None
    every_n_steps: int | None = None
    at_steps: Sequence[int] | None = None
    layers: Sequence[int] | str | None = None
    measure: str = "cka"
    mode: Literal["active", "passive"] = "active"
    forward: Callable[..., Any] | None = None
    max_overhead: float | None = 0.02
    output_dir: str | os.PathLike[str] | None = None
    report: bool = True
    loggers: Sequence[Any] = ()
    verbose: bool = True
    schedule: Schedule = field(default_factory=Schedule)
    extraction: Extraction = field(default_factory=Extraction)
    comparison: Comparison = field(default_factory=Comparison)
    signals: Signals = field(default_factory=Signals)
    actions: Actions = field(default_factory=Actions)
    output: Output = field(default_factory=Output)
    passive: Passive = field(default_factory=Passive)

    def __post_init__(self) -> None:
        for key, group in _GROUPS.items():
            if not isinstance(getattr(self, key), group):
                raise TypeError(
                    f"{key} must be a lightning_layerscope.options.{group.__name__}, "
                    f"got {type(getattr(self, key)).__name__}."
                )
        self._check_types()
        check_choice("mode", self.mode, ("active", "passive"))
        check_choice("measure", self.measure, MEASURES)
        check_measure(self.measure, self.comparison.estimator)
        if self.signals.drift_per_update and self.measure != "cka":
            raise ValueError(
                f'drift_per_update is 1 - CKA over the update: it needs measure="cka", got {self.measure!r}.'
            )
        if self.signals.names and self.mode == "passive":
            raise ValueError(f'signals are of mode="active", got {", ".join(self.signals.names)} in passive mode.')
        self._check_actions()
        self._check_numbers()
        self._check_reference()
        if self.output_dir is not None:
            if is_remote(self.output_dir):
                raise ValueError(
                    f"output_dir must be a folder of this machine, got {os.fspath(self.output_dir)!r}: results are "
                    "written file by file after every measurement. Name a local folder and copy it afterwards."
                )
            object.__setattr__(self, "output_dir", str(Path(self.output_dir).expanduser().absolute()))
        if self.mode == "passive":
            self._check_passive()
        else:
            self._check_active()

    @property
    def cadence(self) -> Cadence:
        """When measurements fall due, from all that says so."""
        schedule = self.schedule
        return Cadence.of(
            self.every_n_steps,
            self.at_steps,
            schedule.geometric,
            schedule.on_validation_end or (self.mode == "passive" and self._no_trigger),
        )

    @property
    def reference_kind(self) -> Literal["initial", "base", "bank"]:
        """``"initial"``, ``"base"``, or ``"bank"`` for a stored one."""
        if self.reference == "initial":
            return "initial"
        return "base" if self.reference == "base" else "bank"

    @property
    def extract_options(self) -> dict[str, Any]:
        """Keywords of :func:`~lightning_layerscope.extract_hidden_states`."""
        return {"layers": self.layers, "forward": self.forward, **self.extraction.keywords}

    @property
    def compare_options(self) -> dict[str, Any]:
        """Keywords of :func:`~lightning_layerscope.take_measurement`."""
        return {"measure": self.measure, "estimator": self.comparison.estimator}

    @property
    def _no_trigger(self) -> bool:
        return self.every_n_steps is None and not self.at_steps and self.schedule.geometric is None

    def _check_types(self) -> None:
        share = self.max_overhead
        asked = {
            "every_n_steps": (
                self.every_n_steps is None or _is_whole(self.every_n_steps),
                "a whole number of optimiser steps, or None",
            ),
            "at_steps": (self.at_steps is None or _are_whole(self.at_steps), "a list of whole numbers, or None"),
            "layers": (
                self.layers is None or isinstance(self.layers, str) or _are_whole(self.layers),
                'a list of whole numbers, or text like "all" or "1,4,8-12"',
            ),
            "max_overhead": (share is None or isinstance(share, Real), "a share such as 0.02, or None"),
            "output_dir": (self.output_dir is None or isinstance(self.output_dir, str | os.PathLike), "a folder"),
        }
        for key, (fits, expected) in asked.items():
            if not fits:
                raise TypeError(f"{key} must be {expected}, got {getattr(self, key)!r}.")
        for logger in self.loggers:
            if logger is None or isinstance(logger, str | Real):
                raise TypeError(
                    f"loggers must be loggers themselves (a run of W&B, a SummaryWriter, an object with "
                    f"log_metrics(row, step=...)), got {logger!r}."
                )

    def _check_numbers(self) -> None:
        if self.max_overhead is not None and not 0 < self.max_overhead <= 1:
            raise ValueError(
                f"max_overhead is a share of the run's time and must lie in (0, 1] (0.02 is 2 %), got "
                f"{self.max_overhead}; None lifts the limit."
            )
        if isinstance(self.layers, str) and not _NUMBERS.fullmatch(self.layers):
            raise ValueError(
                f'layers must be numbers, "all", "last", or text like "1,4,8-12", got {self.layers!r}. Where the '
                f"layers are in the model is said by extraction=Extraction(layer_modules={self.layers!r})."
            )
        _ = self.cadence  # checks its own numbers

    def _check_actions(self) -> None:
        """Nothing waits for an alert that cannot come, and no process acts on what only another one knows."""
        gives = {"forgetting": self.retention is not None, "collapse": self.signals.effective_rank}
        needs = {"forgetting": 'retention="general" or a set of your own', "collapse": "Signals(effective_rank=True)"}
        for kind in self.actions.stop_kinds:
            if not gives[kind]:
                raise ValueError(f"stop_when={kind!r} waits for an alert that needs {needs[kind]}.")
        if self.actions.asked and self.extraction.ranks == "zero":
            raise ValueError(
                "stop_when and callback_metrics need every process to know what was found: leave extraction.ranks at "
                '"share".'
            )

    def _check_reference(self) -> None:
        if not isinstance(self.reference, ReferenceBank | str | os.PathLike):
            raise TypeError(
                'reference must be "initial", "base", the folder of a stored bank, an artifact '
                '("wandb:entity/project/name:version"), or a ReferenceBank, '
                f"got {type(self.reference).__name__}."
            )
        words = ("initial", "base")
        if is_artifact(self.reference):
            check_artifact(str(self.reference))
        elif isinstance(self.reference, str) and self.reference not in words and not Path(self.reference).exists():
            hint = did_you_mean(self.reference, words)
            if hint:
                raise ValueError(
                    f'reference must be "initial", "base" or the folder of a stored bank, and there is no folder '
                    f"{self.reference!r}.{hint}"
                )

    def _check_active(self) -> None:
        if not isinstance(self.probes, ProbeSet | str | os.PathLike):
            raise TypeError(
                "probes must be a ProbeSet (ProbeSet.from_prompts makes one of lists), the path of a saved one, a "
                'source of tasks (a folder of JSONL files, "toy", ...) or "datamodule", got '
                f"{type(self.probes).__name__}."
            )
        if not isinstance(self.retention, ProbeSet | str | os.PathLike | None):
            raise TypeError(
                'retention must be "general", a ProbeSet, the path of a saved one or a source of tasks, got '
                f"{type(self.retention).__name__}."
            )
        if self.probe_options and isinstance(self.probes, ProbeSet):
            raise ValueError("probe_options say how probes are made from a path; a ProbeSet is made already.")
        if self.passive != Passive():
            raise ValueError('the group passive is of mode="passive"; in active mode say it in probe_options.')

    def _check_passive(self) -> None:
        """Nothing that only active mode has is taken in silence."""
        given = {
            "probes": self.probes is not None,
            "tokenizer": self.tokenizer is not None,
            "probe_options": bool(self.probe_options),
            "forward": self.forward is not None,
            "extraction.max_tokens_per_batch": self.extraction.max_tokens_per_batch is not None,
            "output.upload_prompts": self.output.upload_prompts,
            'comparison.near_copies="group"': self.comparison.near_copies == "group",
            'reference="base"': self.reference_kind == "base",
            "retention": self.retention is not None,
        }
        if wrong := [key for key, is_given in given.items() if is_given]:
            raise ValueError(
                "passive mode reads your own validation: it runs no forward pass of its own and has no prompts' texts, "
                f"so it has no {', '.join(wrong)}. Leave it out, or say in passive=Passive(...) what to read."
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _are_whole(values: Any) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str | bytes) and all(map(_is_whole, values))


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a text names a place on another machine (``s3://...``), which is no folder.

    Example:
        >>> is_remote("s3://bucket/run"), is_remote("runs/1"), is_remote("C:/runs")
        (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", os.fspath(path)) is not None
