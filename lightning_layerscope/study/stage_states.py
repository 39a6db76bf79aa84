"""Stages ``states:<role>:<task>``: hidden states and held-out losses of one model on one task."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lightning_layerscope.extraction import HiddenStates, extract_hidden_states
from lightning_layerscope.functional import components_for_variance
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.losses import row_losses
from lightning_layerscope.study.models import ModelRoom
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.rows import PROBES, ROWS, load_rows
from lightning_layerscope.study.stage_data import template_of
from lightning_layerscope.study.stage_train import MODEL
from lightning_layerscope.study.store import Stage, Store
from lightning_layerscope.training.progress import Progress

BANK, SAMPLE, FACTS = "bank", "sample.safetensors", "measured.json"
MOST_IN_GRAMS = 2048
"""With more examples than this a Gram matrix is no smaller than the states of most models: these are kept then."""
SAMPLED = 32
"""Prompts of each task whose states are kept for pictures."""


def measure_states(stage: Stage, store: Store, folder: Path, plan: StudyPlan, room: ModelRoom, tokenizer: Any) -> None:
    """Measure one model on one task.

    Args:
        stage: ``states:<role>:<task>``.
        store: Of the study.
        folder: Gets ``bank/``, ``measured.json`` and, for models but controls, ``sample.safetensors``.
        plan: The study's plan.
        room: Holds the model; adapters are put onto its base.
        tokenizer: Of the base model.
    """
    _, role, task = stage.name.split(":", 2)
    data = store.folder(stage.need(f"data:{task}"))
    probes = ProbeSet.load(data / PROBES)
    with _model(stage, store, plan, room) as model:
        probes.check_model(model)
        with Progress(stage.name, probes.num_examples, unit="prompts") as progress:
            states = extract_hidden_states(
                model,
                probes,
                max_tokens_per_batch=plan.max_tokens_per_batch,
                progress=lambda done, _: progress.to(done),
            )
        losses = _losses(stage.name, model, data, plan, tokenizer)
    grams = len(states.example_ids[task]) <= MOST_IN_GRAMS
    bank = ReferenceBank.from_states(states, kind="gram" if grams else "features", name=role, robust=False)
    bank.save(folder / BANK, dtype="float32" if grams and plan.bank_dtype == "float32" else None)
    facts: dict[str, Any] = {
        "layers": list(states.layers),
        "num_layers": states.num_layers,
        "width": states[task].shape[-1],
        "examples": len(states.example_ids[task]),
        "losses": losses,
    }
    if not role.startswith("control"):
        facts |= _for_pictures(states, task, folder)
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _for_pictures(states: HiddenStates, task: str, folder: Path) -> dict[str, Any]:
    held = states[task]
    # bfloat16: outlier dimensions would overflow float16.
    save_file({"states": held[:, :SAMPLED].to(torch.bfloat16).contiguous()}, folder / SAMPLE)
    rows = held[:, :MOST_IN_GRAMS]
    return {"components": components_for_variance(rows).tolist(), "component_rows": rows.shape[1]}


def _model(stage: Stage, store: Store, plan: StudyPlan, room: ModelRoom) -> AbstractContextManager[Any]:
    for need in stage.needs:
        if need.kind in ("multitask", "control"):
            return room.tuned(store.folder(need) / MODEL)
    if "tuned" in stage.settings:
        assert plan.tuned is not None
        return room.tuned(plan.tuned)
    return nullcontext(room.base())


def _losses(name: str, model: Any, data: Path, plan: StudyPlan, tokenizer: Any) -> list[float]:
    """Of the held-out rows; none where they have no answers, which only a study without training allows."""
    from lightning_layerscope.training.encoding import encode_examples, padding_id

    task = load_rows(data / ROWS)
    if not all(example.output.strip() for example in task.split("test")):
        return []
    rows = encode_examples(
        task.name, task.split("test"), tokenizer, template=template_of(plan), max_length=plan.training.max_length
    )
    with Progress(name, len(rows), unit="held-out rows") as progress:
        return row_losses(
            model,
            rows,
            padding=padding_id(tokenizer),
            max_tokens_per_batch=plan.max_tokens_per_batch,
            progress=lambda done, _: progress.to(done),
        )
