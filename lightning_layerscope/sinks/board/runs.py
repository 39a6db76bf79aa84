"""Runs of W&B as a report tells of them: their settings, their profiles, and in words what differs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_layerscope.charts.words import measure_name
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.sinks.reading import against, number, overall
from lightning_layerscope.transitions import find_transitions
from lightning_layerscope.wording import count

_SETTINGS = {
    "measure": "the measure",
    "estimator": "the estimator",
    "num_layers": "the number of layers",
    "examples_digest": "the prompts",
    "tokens_digest": "how prompts become tokens",
    "reference": "the name of the reference",
    "reference_digest": "the reference",
    "cadence": "when it measures",
    "signals": "the signals",
    "retention_tolerance": "what must not be lost",
}


@dataclass(frozen=True)
class LoggedRun:
    """One run.

    Attributes:
        id: In W&B.
        name: As people see it.
        config: What the monitor has logged of its settings.
        profile: Of the run; None where it is not read.
    """

    id: str
    name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    profile: LayerProfile | None = None

    @property
    def title(self) -> str:
        """Name and id."""
        return f"{self.name} ({self.id})" if self.name and self.name != self.id else self.id


def read_run(entity: str, project: str, ident: str, *, root: str, profile: LayerProfile | None = None) -> LoggedRun:
    """A run from W&B; its profile from the artifact of its results, where none is given.

    Raises:
        ConnectionError: When it cannot be had.
        ValueError: For a run without a monitor's results.
    """
    import wandb

    try:
        run = wandb.Api().run(f"{entity}/{project}/{ident}")
        config = run.config
    except Exception as error:
        raise ConnectionError(
            f"the run {entity}/{project}/{ident} could not be read ({type(error).__name__}: {error}). The id is the "
            "last part of the run's address; `wandb login` gives access."
        ) from error
    if root not in config:
        raise ValueError(f"the run {ident} has no results of a monitor whose keys begin with {root!r}.")
    if profile is None:
        profile = _download(f"{entity}/{project}/{root}-results-{ident}:latest")
    return LoggedRun(ident, str(run.name or ""), dict(config[root]), profile)


def _download(artifact: str) -> LayerProfile | None:
    """The profile of an artifact of results; None where a run has none (yet)."""
    import wandb

    with tempfile.TemporaryDirectory() as passing:
        try:
            folder = wandb.Api().artifact(artifact).download(root=passing, path_prefix="profile.parquet")
        except Exception:  # a run that is still going on has none
            return None
        return LayerProfile.from_parquet(Path(folder) / "profile.parquet")


def tell_run(run: LoggedRun) -> str:
    """One run in a sentence or two."""
    if run.profile is None:
        return f"{run.title}: its rows are not at hand, the panels show what it has logged."
    profile, mean = run.profile, overall(run.profile)
    interval = f" (90 % interval over tasks {mean.low:.3f} to {mean.high:.3f})" if mean.low == mean.low else ""
    return (
        f"{run.title}: at step {profile.steps[-1]:,}, {measure_name(profile.measure)} ({profile.meta.estimator}) "
        f"against {against(profile)} averages {number(mean.value)}{interval} over {count(len(profile.tasks), 'task')} "
        f"and {count(len(profile.layers), 'layer')}. {find_transitions(profile).describe()}"
    )


def tell_difference(first: LoggedRun, other: LoggedRun) -> str:
    """What another run has different: its settings, and where its profile parts from the first one's."""
    text = f"{other.title} against {first.title}: {_settings(first.config, other.config)}"
    if first.profile is None or other.profile is None:
        return text
    try:
        return f"{text} {first.profile.diff(other.profile).describe()}"
    except ValueError as error:  # of other prompts, tasks or layers: there is no difference to give
        return f"{text} Their profiles cannot be subtracted: {str(error).rstrip('.')}."


def _settings(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    # Runs of earlier versions do not say that they have no signals.
    different = [words for key, words in _SETTINGS.items() if (first.get(key) or None) != (other.get(key) or None)]
    tasks = sorted(set(first.get("tasks") or ()) ^ set(other.get("tasks") or ()))
    if tasks:
        different.append(f"the tasks ({', '.join(map(str, tasks[:5]))}{', ...' if len(tasks) > 5 else ''})")
    return f"different are {_listed(different)}." if different else "the monitor's settings are the same."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
