"""Which layers to train? Every selector on one model's tasks, at equal parameters: the trainings behind docs/advice.md.

    python benchmarks/advice.py --model FOLDER --plan gemma --tasks FOLDER [--seeds 0 1 2] [--device cuda] [--shard 0/4]

Each finished training appends one line to ``benchmarks/advice_results/<plan>.jsonl``; a line that stands is not made
again, so the table grows over several machines and after a crash. What the selectors look at is gathered once and kept
beside it (``<plan>.evidence.json``), and so are the curves of drift and causal check of each seed's adapter on all
layers (``<plan>.curves.jsonl``). Needs torch, transformers, Lightning and peft, and runs from a checkout without
installation. With ``--shard i/n`` several processes share the work; the first one gathers the evidence.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lightning_layerscope.advice import find_targets
from lightning_layerscope.advice.check import WAYS, check_rows
from lightning_layerscope.advice.evidence import Evidence, gather_evidence
from lightning_layerscope.advice.rules import NAMES
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.advice.trial_run import TrialSetting, held_out_rows, run_trial
from lightning_layerscope.comparison.weight_updates import adapter_updates
from lightning_layerscope.extraction import extract_hidden_states
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import general_tasks, load_tasks
from lightning_layerscope.training import load_model
from lightning_layerscope.training.quiet import quiet

RESULTS = Path(__file__).resolve().parent / "advice_results"
#: One task of each of 12 clusters, with short rows.
TASKS = ("sciq", "commonsenseqa", "evalution_relation", "cola", "mnli", "qqp", "sst2", "tweet_irony", "stance_climate")
TASKS += ("e2e_nlg", "agnews", "multi30k_en_fr")
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PLANS = {
    # A third of the layers. The paper's matrices; the first look's rate.
    "gemma": TrialRecipe(budget_layers=6, rank=6, learning_rate=5e-4),
    # The recipe of examples/study_instruct48, whose small model needs more of everything.
    "small_llama": TrialRecipe(kinds=_LINEAR, budget_layers=3, rank=8, learning_rate=2e-3, epochs=3),
    "smoke": TrialRecipe(budget_layers=2, rank=4, train_rows=8, test_rows=4, retention_rows=4, max_length=64),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the base model")
    parser.add_argument("--tasks", default="toy", help="folder of the tasks, or another source")
    parser.add_argument("--names", nargs="+", default=TASKS, help="of the tasks")
    parser.add_argument("--plan", choices=PLANS, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--selectors", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th training from the i-th on")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    begin = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - begin:6.0f} s] {text}", flush=True)

    with quiet():
        setting = prepare(options, say)
        curves = options.out / f"{options.plan}.curves.jsonl"
        probes = ProbeSet.from_tasks(
            setting.tasks, setting.tokenizer, examples_per_task=32, max_length=setting.recipe.max_length, min_examples=4
        )
        shard = tuple(int(part) for part in options.shard.split("/"))

        def inspect(line: Any, tuned: Any) -> None:
            if line.selector == "all":
                append_curves(curves, line.seed, setting, probes, tuned)

        path = options.out / f"{options.plan}.jsonl"
        for line in run_trial(setting, options.selectors, options.seeds, path, shard=shard, inspect=inspect):
            loss, kept = (sum(part.values()) / len(part) for part in (line.loss, line.retention))
            say(f"{line.selector} seed {line.seed}: loss {loss:.3f}, retention {kept:.3f}, layers {line.layers}")


def prepare(options: argparse.Namespace, say: Any) -> TrialSetting:
    recipe = PLANS[options.plan]
    model, tokenizer = load_model(options.model, dtype="float32", device=options.device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    tasks = load_tasks(options.tasks).select(options.names)
    targets = find_targets(model, recipe.kinds)
    rows = held_out_rows(tasks, tokenizer, recipe.test_rows, recipe.max_length)
    retention = held_out_rows(general_tasks(), tokenizer, recipe.retention_rows, recipe.max_length)
    path = options.out / f"{options.plan}.evidence.json"
    first = options.shard.split("/")[0] == "0"
    while not first and not path.is_file():
        time.sleep(1)
    if path.is_file():
        evidence = Evidence.from_json(json.loads(path.read_text(encoding="utf-8")))
    else:
        say("gathering the evidence of the selectors")
        evidence = gather_evidence(model, tokenizer, tasks, targets, recipe)
        options.out.mkdir(parents=True, exist_ok=True)
        passing = path.with_suffix(".part")
        passing.write_text(json.dumps(rounded(asdict(evidence))), encoding="utf-8")
        passing.replace(path)
    mean = sum(len(row) for part in rows.values() for row in part) / sum(map(len, rows.values()))
    setting = TrialSetting(model, tokenizer, tasks, targets, recipe, evidence, rows, retention)
    say(f"{len(tasks)} tasks, rows of {mean:.0f} tokens, {setting.budget:,} trainable parameters")
    return setting


def append_curves(path: Path, seed: int, setting: TrialSetting, probes: ProbeSet, tuned: Any) -> None:
    """Drift and causal check of one adapter on all layers, task by task, on held-out rows."""
    after = extract_hidden_states(tuned, probes)
    with tuned.disable_adapter():
        before = extract_hidden_states(tuned, probes)
    rows = [row for part in setting.test_rows.values() for row in part[:16]]
    # The layers alone are what the drift is held against; the two cumulative ways cost twice as much.
    check = check_rows(tuned, rows, ways=WAYS if seed == 0 else ("alone",))
    entry = {
        "seed": seed,
        "update": adapter_updates(tuned).tolist(),
        "drift": {task: (1 - linear_cka(before[task].float(), after[task].float())).tolist() for task in before},
        "causal": {
            way: {task: [change.value for change in check.change(way, task)] for task in check.tasks}
            for way in check.restored
        },
    }
    # Unbuffered: one write, so that several processes may add to one file.
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(rounded(entry), separators=(",", ":")) + "\n").encode("utf-8"))


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main()
