"""All selectors at once, from one set of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from lightning_layerscope.advice import selectors
from lightning_layerscope.advice.evidence import Evidence
from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets
from lightning_layerscope.advice.trial_recipe import TrialRecipe

#: Selectors of a trial, those that need least evidence last: when time runs out, what was hard to know is there.
NAMES = (
    "all",
    "middle-band",
    "last",
    "first",
    "neighbour-least",
    "gradient-probe",
    "causal",
    "random",
    "pilot-drift",
    "neighbour-most",
    "spectrum",
    "condition-number",
    "pilot-drift-per-update",
)

DEFAULT = "all"
"""What is advised without a trial."""
_PILOT = {"causal", "pilot-drift", "pilot-drift-per-update"}


def needs_pilot(names: Iterable[str]) -> bool:
    """Whether any of these rules looks at a pilot run."""
    return bool(_PILOT & set(names))


def select(name: str, evidence: Evidence, targets: Targets, recipe: TrialRecipe, *, seed: int) -> Selection:
    """What one rule says.

    Args:
        name: One of ``NAMES``.
        evidence: What was gathered of the base model and the tasks.
        targets: The matrices that may get adapters.
        recipe: Tells the budget.
        seed: Seed of the rule ``"random"``.

    Raises:
        ValueError: For an unknown name, or a rule without the evidence it needs.
    """
    count, layers = recipe.budget_layers, targets.num_layers
    rules: dict[str, Callable[[], Selection]] = {
        "all": partial(selectors.all_layers, layers),
        "middle-band": partial(selectors.middle_band, layers),
        "last": partial(selectors.last_layers, layers, count),
        "first": partial(selectors.first_layers, layers, count),
        "random": partial(selectors.random_layers, layers, count, seed),
        "neighbour-least": partial(selectors.least_similar_to_input, evidence.neighbour_similarity, count),
        "neighbour-most": partial(selectors.most_similar_to_input, evidence.neighbour_similarity, count),
        "gradient-probe": partial(selectors.largest_gradients, evidence.gradient_norm, count),
        "spectrum": partial(selectors.strongest_signal, evidence.signal_to_noise, count),
        "pilot-drift": partial(selectors.most_moved, evidence.drift, count),
        "pilot-drift-per-update": partial(selectors.most_moved_per_update, evidence.drift_per_update, count),
        "causal": partial(selectors.most_missed, evidence.causal, count),
        "condition-number": partial(
            selectors.best_conditioned,
            targets,
            evidence.condition_ranking,
            targets.budget(count, recipe.rank),
            recipe.rank,
        ),
    }
    if name not in rules:
        raise ValueError(f"unknown selector {name!r}; there are {', '.join(NAMES)}.")
    return rules[name]()
