"""Controls that a study measured: published with its results, so that another plan can take them over untrained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.graph import measures_control
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.rows import ROWS, load_rows
from lightning_layerscope.study.stage_data import template_of
from lightning_layerscope.study.stage_states import BANK, FACTS
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.tasks import Task, TaskCollection

CONTROLS, INDEX, FORMAT = "controls", "controls.json", 1


@dataclass(frozen=True)
class Control:
    """One control on its own task.

    Attributes:
        folder: Holds ``bank/`` and ``measured.json``.
        digest: Of the bank.
    """

    folder: Path
    digest: str

    def load(self) -> ReferenceBank:
        """Its bank; every byte is verified.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is damaged, or another one than the index says.
        """
        bank = ReferenceBank.load(self.folder / BANK)
        if bank.digest != self.digest:
            raise ValueError(f"the bank in {self.folder} is another one than {INDEX} says; copy the controls anew")
        return bank


@dataclass(frozen=True)
class Controls:
    """All controls of a study.

    Attributes:
        root: Where they are.
        base: Digest of the base model that they were fine-tuned from.
        max_length: Tokens of prompt and answer together, where their held-out losses were measured.
        dtype: The plan's, of the weights that their states were measured with.
        by_seed: Seed to task to control.
    """

    root: Path
    base: str
    max_length: int
    dtype: str
    by_seed: Mapping[int, Mapping[str, Control]]

    @classmethod
    def load(cls, folder: str | Path) -> Controls:
        """Read what :func:`index_controls` wrote; the banks themselves are not read.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If the index is damaged or of a later format.
        """
        root = Path(folder)
        if not (root / INDEX).is_file():
            raise FileNotFoundError(
                f"expected the controls of a study in {root}, got no {INDEX} there; give the folder {CONTROLS!r} of "
                "another study's results, or of its W&B artifact with the banks"
            )
        try:
            index = json.loads((root / INDEX).read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {index['format']}; use a later version")
            by_seed: dict[int, dict[str, Control]] = {}
            for entry in index["controls"]:
                control = Control(root / entry["folder"], entry["digest"])
                by_seed.setdefault(int(entry["seed"]), {})[entry["task"]] = control
            return cls(root, index["base"], int(index["max_length"]), index["dtype"], by_seed)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{root / INDEX} cannot be used: {error!r}; copy it anew from its study") from error

    def check_covers(self, tasks: TaskCollection, base: str) -> None:
        """Raise ValueError unless there is a control of this base model for every task and seed."""
        if self.base != base:
            raise ValueError(
                f"the controls in {self.root} were fine-tuned from another base model than the plan's (its content "
                "differs); give that one as 'model', or train controls of this one (remove 'controls')"
            )
        for seed, by_task in self.by_seed.items():
            if lacking := [name for name in tasks if name not in by_task]:
                raise ValueError(
                    f"the controls in {self.root} have none of seed {seed} for the tasks {lacking[:5]}; they are of "
                    f"{sorted(by_task)}. Choose among these (tasks.select), or train controls (remove 'controls')"
                )

    def problems(self, plan: StudyPlan, probes: ProbeSet) -> list[str]:
        """What keeps a plan from using them: damage, or another way of measuring; every byte is read."""
        found: list[str] = []
        if self.dtype != plan.dtype:
            found.append(
                f"the controls in {self.root} were measured with dtype {self.dtype}, and the plan has {plan.dtype}; "
                f"set dtype: {self.dtype}"
            )
        elsewise: dict[str, list[str]] = {}
        for name in probes:
            own = probes.select(name)
            for by_task in self.by_seed.values():
                try:
                    what = _other_probes(by_task[name].load(), own)
                except (OSError, ValueError) as error:
                    found.append(str(error))
                    continue
                if what and name not in elsewise.setdefault(what, []):
                    elsewise[what].append(name)
        return found + [
            f"the controls in {self.root} were probed with {what} ({len(names)} tasks, e.g. {', '.join(names[:3])}); "
            "use the tasks, probes and template of the plan that made them, or train controls (remove 'controls')"
            for what, names in elsewise.items()
        ]


def _other_probes(bank: ReferenceBank, probes: ProbeSet) -> str:
    """How a bank's probes differ from a plan's, in words; empty where they do not."""
    if bank.examples_digest != probes.examples_digest:
        count = sum(map(len, bank.example_ids.values()))
        return f"other examples, {count} per task where the plan has {probes.num_examples}"
    if bank.tokens_digest != probes.tokens_digest:
        return "the same examples, but with another template, token budget, token choice or tokenizer"
    return ""


def _seed_and_task(stage: Stage) -> tuple[int, str]:
    """Of a stage ``<kind>:control@<seed>:<task>``."""
    _, role, task = stage.name.split(":", 2)
    return int(role.partition("@")[2]), task


def index_controls(comparisons: Iterable[Stage], store: Store, folder: Path, plan: StudyPlan) -> None:
    """Write which controls a study trained; :func:`copy_controls` puts them beside it. Nothing where there are none.

    Args:
        comparisons: The stages ``compare:<task>``.
        store: Of the study.
        folder: Where to; made.
        plan: The study's plan.
    """
    stages = [need for comparison in comparisons for need in comparison.needs if measures_control(need)]
    if not stages:
        return
    entries = []
    for stage in stages:
        seed, task = _seed_and_task(stage)
        place = store.folder(stage)
        digest = ReferenceBank.load(place / BANK).digest
        entries.append({"task": task, "seed": seed, "folder": place.name, "digest": digest})
    index = {
        "format": FORMAT,
        "base": stages[0].settings["model"],
        "max_length": plan.training.max_length,
        "dtype": plan.dtype,
        "controls": entries,
    }
    folder.mkdir()
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def copy_controls(folder: Path, store: Store) -> None:
    """Copy the controls that the folder's index names from the study's stages, so that the folder stands alone."""
    for by_task in Controls.load(folder).by_seed.values():
        for control in by_task.values():
            source = store.stages / control.folder.name
            shutil.copytree(source / BANK, control.folder / BANK)
            shutil.copy(source / FACTS, control.folder / FACTS)


def take_over(stage: Stage, store: Store, folder: Path, plan: StudyPlan, tokenizer: Any) -> None:
    """Write a stage ``import:control@<seed>:<task>``: what ``states`` writes, from an earlier study.

    Held-out losses are left out where this plan's token budget cuts a row otherwise than the one they were measured
    with: they would not be of the same tokens.
    """
    assert plan.controls is not None
    seed, task = _seed_and_task(stage)
    controls = Controls.load(plan.controls)
    control = controls.by_seed[seed][task]
    control.load()  # what is copied is whole, and the one that the stage's fingerprint names
    shutil.copytree(control.folder / BANK, folder / BANK)
    facts = json.loads((control.folder / FACTS).read_text(encoding="utf-8"))
    rows = load_rows(store.folder(stage.need(f"data:{task}")) / ROWS)
    if facts["losses"] and not _cut_alike(rows, plan, tokenizer, controls.max_length):
        facts["losses"] = []
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _cut_alike(rows: Task, plan: StudyPlan, tokenizer: Any, max_length: int) -> bool:
    from lightning_layerscope.training.encoding import encode_examples

    if max_length == plan.training.max_length:
        return True
    here, there = (
        encode_examples(rows.name, rows.split("test"), tokenizer, template=template_of(plan), max_length=length)
        for length in (plan.training.max_length, max_length)
    )
    return here == there
