"""What a monitor is told, checked once, whatever trainer it hangs on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_layerscope.comparison.measures import check_measure
from lightning_layerscope.monitor.cadence import Cadence
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank

_NUMBERS = re.compile(r"\s*(all|last|\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*)\s*")


@dataclass(frozen=True)
class Settings:
    """Options of a monitor; what they mean is told by :class:`~lightning_layerscope.callbacks.LayerSimilarityMonitor`.

    Raises:
        ValueError: For an unknown measure, mode or option value.
        TypeError: For probes or a reference of another type.
    """

    probes: ProbeSet | str | None
    tokenizer: Any = None
    probe_options: dict[str, Any] = field(default_factory=dict)
    reference: ReferenceBank | str = "initial"
    cadence: Cadence = field(default_factory=Cadence.of)
    measure: str = "cka"
    estimator: str = "debiased"
    layers: Sequence[int] | str | None = None
    layer_modules: str | None = None
    forward: Callable[..., Any] | None = None
    embeddings: bool = False
    max_tokens_per_batch: int | None = None
    max_overhead: float | None = 0.02
    mode: Literal["active", "passive"] = "active"
    ranks: Literal["share", "zero"] = "share"
    mid_run_baseline: Literal["refuse", "flag"] = "refuse"
    output_dir: str | None = None
    name: str = "layerscope"
    task_keys: bool = False
    upload_prompts: bool = False
    report: bool = True
    verbose: bool = True

    def __post_init__(self) -> None:
        check_measure(self.measure, self.estimator)
        for key, allowed in (
            ("mode", ("active", "passive")),
            ("ranks", ("share", "zero")),
            ("mid_run_baseline", ("refuse", "flag")),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, key)!r}.")
        if self.mode == "active" and not isinstance(self.probes, ProbeSet | str | os.PathLike):
            raise TypeError(
                "probes must be a ProbeSet, the path of a saved one, a source of tasks (a folder of JSONL files, "
                f'"toy", ...) or "datamodule", got {type(self.probes).__name__}.'
            )
        if not isinstance(self.reference, ReferenceBank | str | os.PathLike):
            raise TypeError(
                'reference must be "initial", "base", the folder of a stored bank, or a ReferenceBank, '
                f"got {type(self.reference).__name__}."
            )
        if self.probe_options and isinstance(self.probes, ProbeSet):
            raise ValueError("probe_options say how probes are made from a path; a ProbeSet is made already.")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.name):
            raise ValueError(f"name becomes a folder's name: use A-Z, a-z, 0-9, '.', '_' and '-', got {self.name!r}.")

    @property
    def reference_kind(self) -> Literal["initial", "base", "bank"]:
        """``"initial"``, ``"base"``, or ``"bank"`` for a stored one."""
        if self.reference == "initial":
            return "initial"
        return "base" if self.reference == "base" else "bank"

    @property
    def extraction(self) -> dict[str, Any]:
        """Keywords of :func:`~lightning_layerscope.extract_hidden_states`.

        A text in ``layers`` that is no choice of numbers names the layer modules.
        """
        layers, modules = self.layers, self.layer_modules
        if isinstance(layers, str) and not _NUMBERS.fullmatch(layers):
            if modules is not None:
                raise ValueError(
                    f'layers={layers!r} is no choice of numbers ("1,4-8", "all", "last") beside layer_modules.'
                )
            layers, modules = None, layers
        return {
            "layers": layers,
            "layer_modules": modules,
            "forward": self.forward,
            "embeddings": self.embeddings,
            "max_tokens_per_batch": self.max_tokens_per_batch,
        }


def make_settings(
    probes: Any,
    *,
    probe_options: Mapping[str, Any] | None = None,
    every_n_steps: int | None = None,
    at_steps: Sequence[int] | None = None,
    geometric: float | None = None,
    on_validation_end: bool = False,
    output_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Settings:
    """Settings from a callback's arguments.

    Raises:
        TypeError: For an argument that no monitor has.
    """
    return Settings(
        probes=probes,
        probe_options=dict(probe_options or {}),
        cadence=Cadence.of(every_n_steps, at_steps, geometric, on_validation_end),
        output_dir=None if output_dir is None else os.fspath(output_dir),
        **options,
    )


def resolve_probes(settings: Settings, *, tokenizer: Any = None, datamodule: Any = None) -> ProbeSet:
    """The probes themselves, from whatever the settings name.

    Args:
        settings: Of the monitor.
        tokenizer: What the trainer, module or data module offers; the settings' own goes first.
        datamodule: Of the trainer, for ``probes="datamodule"``.

    Raises:
        ValueError: When tasks are named and no tokenizer is known, or the source holds nothing that fits.
        FileNotFoundError: When nothing of that name is there.
    """
    if isinstance(settings.probes, ProbeSet):
        return settings.probes
    own = settings.tokenizer
    if settings.probes == "datamodule":
        if datamodule is None:
            raise ValueError(
                'probes="datamodule" needs a data module with probe_tasks(); pass it to trainer.fit, or name a source.'
            )
        found = own if own is not None else tokenizer
        if found is None:
            raise ValueError('probes="datamodule" needs a tokenizer: pass tokenizer=, or give the module one.')
        return ProbeSet.from_datamodule(datamodule, found, **settings.probe_options)
    source = os.fspath(settings.probes)  # type: ignore[arg-type]
    # A trainer's tokenizer is not checked against a saved probe set: it may be wrapped. The model's embedding is.
    from lightning_layerscope.probes.files import is_probe_file

    if own is None and not is_probe_file(source):
        own = tokenizer
    return ProbeSet.from_source(source, own, **settings.probe_options)
