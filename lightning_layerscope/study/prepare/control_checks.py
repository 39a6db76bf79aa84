"""Can controls of another study be taken over?"""

from __future__ import annotations

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.stages.controls import KeptControls
from lightning_layerscope.wording import count


def controls_problems(controls: KeptControls, plan: StudyPlan, probes: ProbeSet) -> list[str]:
    """What keeps a plan from using them: damage, or another way of measuring; every byte is read."""
    problems: list[str] = []
    if controls.dtype != plan.dtype:
        problems.append(
            f"the controls in {controls.root} were measured with dtype {controls.dtype}, and the plan has "
            f"{plan.dtype}; set dtype: {controls.dtype}"
        )
    elsewise: dict[str, list[str]] = {}
    for name in probes:
        own = probes.select(name)
        for control in controls.by_task[name]:
            try:
                what = _other_probes(control.load(), own)
            except (OSError, ValueError) as error:
                problems.append(str(error))
                continue
            if what and name not in elsewise.setdefault(what, []):
                elsewise[what].append(name)
    return problems + [
        f"the controls in {controls.root} were probed with {what} ({count(len(names), 'task')}, e.g. "
        f"{', '.join(names[:3])}); "
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
