"""Do the models of a plan fit each other and the recipe?"""

from __future__ import annotations

from pathlib import Path

from lightning_layerscope._extras import require
from lightning_layerscope.study.prepare.model_digest import model_digest
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.training.loading import is_adapter
from lightning_layerscope.wording import count


def model_problems(context: StudyContext) -> list[str]:
    """What keeps a plan's models from being used: other shapes, another base, modules that are not there."""
    plan = context.plan
    if plan.tuned is not None:
        if foreign := _foreign_base(context):
            return [foreign]
        try:
            base, layers = _depth(plan.model), _tuned_depth(context, plan.tuned)
        except (ValueError, OSError) as error:
            return [str(error)]
        if layers != base:
            return [
                f"the tuned model has {count(layers, 'layer')} and the base model {base}; compare models of one depth"
            ]
        return []
    if plan.training.method == "lora":
        names = {name.rsplit(".", 1)[-1] for name, _ in context.models.base().named_modules()}
        missing = [name for name in plan.training.target_modules if name not in names]
        if missing:
            return [f"training.target_modules names modules that {plan.model} does not have: {missing}"]
    return []


def _tuned_depth(context: StudyContext, name: str) -> int:
    """Of an adapter by putting it on the base model, which tells whether it fits; of a checkpoint by its config."""
    if not is_adapter(name):
        return _depth(name)
    with context.models.tuned(name) as tuned:
        return int(tuned.config.get_text_config().num_hidden_layers)


def _depth(name: str) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(name).get_text_config().num_hidden_layers)


def _foreign_base(context: StudyContext) -> str:
    """An adapter fits any model of its base's shape: does it name this one? Moved folders are told by content."""
    plan = context.plan
    assert plan.tuned is not None
    if not is_adapter(plan.tuned):
        return ""
    config = require("peft", extra="study").PeftConfig.from_pretrained(plan.tuned)
    named = str(config.base_model_name_or_path or "")
    if not named or named == plan.model:
        return ""
    places = [Path(name).is_dir() for name in (named, plan.model)]
    if places == [False, True]:
        return ""  # the base may have been moved or downloaded here; loading shows whether its shapes fit
    try:
        same = model_digest(named, context.store) == model_digest(plan.model, context.store)
    except FileNotFoundError:
        same = False
    if same:
        return ""
    return (
        f"the adapter {plan.tuned} was made for the base model {named!r}, and the plan's model is {plan.model!r}; "
        "give the one as 'model', or another adapter as 'tuned'"
    )
