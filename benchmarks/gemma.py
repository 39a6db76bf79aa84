"""A study on a model with a large vocabulary, against its arithmetic, plain extraction and transformers' own Trainer.

    python benchmarks/gemma.py --model FOLDER --tasks FOLDER [--select cola multi30k_en_de] [--parts stages ...]
                               [--precision bf16-mixed]

For Gemma 3 270M (``examples/gemma/prepare.py``) and two tasks, one of short answers and one of translations, 64 prompts
and all held-out rows, float32, one thread:

  stages    a ``states`` stage against its arithmetic: every token through the layers' matrices once, every answer token
            through the head, at the rate of these very matrices measured in between
  training  one control's training (with its monitor) against ``transformers.Trainer`` with peft on padded batches of
            the same rows, and what that would be by multiplications alone: every token of a row through the layers,
            every answer token through the head, against every padded token through both; ``--precision`` holds for
            both
  study     a study of two checkpoints against two plain ``layerscope extract``: processor time and peak memory

Processor seconds, which another load of the machine disturbs less than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAN = """
name: study
model: {model}
{tuned}
tasks: {{source: tasks, select: [{select}]}}
{training}
probes: {{examples_per_task: 64, max_length: 256}}
threads: 1
"""
RECIPE = (
    "training: {{learning_rate: 1.0e-3, epochs: 1, batch_size: 8, accumulate: 1, max_length: 256, "
    "monitor_examples: 16, control_budget: same_examples, precision: {precision}}}"
)


def seconds(function: Callable[[], Any]) -> float:
    """Processor time of a call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def plan(folder: Path, options: argparse.Namespace, *, tuned: str = "") -> Path:
    """Two tasks as a folder of their own, and a plan beside them."""
    tasks = folder / "tasks"
    if not tasks.exists():
        tasks.mkdir()
        for name in options.select:
            rows = (Path(options.tasks) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            train = [row for row in rows if json.loads(row)["split"] == "train"][: options.rows]
            test = [row for row in rows if json.loads(row)["split"] == "test"]
            (tasks / f"{name}.jsonl").write_text("".join(train + test), encoding="utf-8")
    path = folder / f"plan{'-tuned' if tuned else ''}.yaml"
    text = PLAN.format(
        model=Path(options.model).resolve(),
        tuned=f"tuned: {tuned}" if tuned else "",
        select=", ".join(options.select),
        training="training: {max_length: 256}" if tuned else RECIPE.format(precision=options.precision),
    )
    path.write_text(text, encoding="utf-8")
    return path


def product_seconds(model: Any) -> tuple[float, float]:
    """Per token of the layers' matrices together, and per position of the head."""
    import torch

    layers = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]

    def through(modules: list[Any], rows: int) -> float:
        inputs = {m.in_features: torch.randn(rows, m.in_features) for m in modules}
        with torch.no_grad():
            times = [seconds(lambda: [m(inputs[m.in_features]) for m in modules]) for _ in range(4)]
        return statistics.median(times[1:]) / rows

    return through(layers, 512), through([model.get_output_embeddings()], 128)


def run_stages(folder: Path, options: argparse.Namespace) -> None:
    """One line a task: seconds, arithmetic, ratio."""
    from lightning_layerscope.study import Study
    from lightning_layerscope.training.encoding import encode_examples

    study = Study.from_yaml(plan(folder, options))
    with study.context.threads():
        model = study.context.models.base()
        for task in options.select:
            study.run([f"probes:{task}"])
            stage = study.graph.stages[f"states:base:{task}"]
            probed = stage.probes.load(study.store)
            rows = encode_examples(task, probed.rows.split("test"), study.context.tokenizer, max_length=256)
            tokens, answers = sum(map(len, rows)), sum(len(row.answer) for row in rows)
            ratios, spent = [], []
            for turn in range(options.rounds):
                place = folder / f"states-{task}-{turn}"
                place.mkdir()
                before = product_seconds(model)
                spent.append(seconds(lambda stage=stage, place=place: stage.run(study.context, place)))
                after = product_seconds(model)
                layer, head = (statistics.mean(both) for both in zip(before, after, strict=True))
                ratios.append(spent[-1] / ((probed.probes.num_tokens + tokens) * layer + answers * head))
            print(
                f"states of {task}: {probed.probes.num_tokens:,} tokens of prompts, {tokens:,} of "
                f"{len(rows)} held-out rows, {answers:,} of answers; {statistics.median(spent):.1f} s, "
                f"{statistics.median(ratios):.2f} times its arithmetic ({min(ratios):.2f}-{max(ratios):.2f})",
                flush=True,
            )


def theirs(study: Any, stage: Any) -> float:
    """transformers.Trainer with peft, as its documentation has it: rows in random order, padded by the batch.

    Gives the share of its multiplications that are needed, see ``training`` above.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    from lightning_layerscope.training.encoding import collate, encode_examples

    recipe = stage.recipe.training
    task = stage.data[0].load(study.store)
    rows = encode_examples(task.name, task.split("train"), study.context.tokenizer, max_length=recipe.max_length)
    model = AutoModelForCausalLM.from_pretrained(study.plan.model, dtype=torch.float32)
    layers = sum(m.weight.numel() for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in n)
    head, padded = model.get_output_embeddings().weight.numel(), []

    def collator(batch: list[Any]) -> dict[str, Any]:
        collated = collate(batch)
        padded.append(collated["input_ids"].numel())
        return collated

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=recipe.batch_size,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            use_cpu=True,
            bf16=recipe.precision == "bf16-mixed",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collator)
        trainer.train()
    needed = sum(map(len, rows)) * layers + sum(len(row.answer) for row in rows) * head
    return recipe.epochs * needed / (sum(padded) * (layers + head))


def run_training(folder: Path, options: argparse.Namespace) -> None:
    """One line a task: seconds of both, ratio; loading the model is in neither."""
    import peft  # noqa: F401  # who comes first would pay for it
    from transformers import Trainer  # noqa: F401

    from lightning_layerscope.study import Study

    study = Study.from_yaml(plan(folder, options))
    with study.context.threads():
        for task in options.select:
            stage = next(each for each in study.graph.stages.values() if each.trains and each.task == task)
            study.run([need.name for need in (*stage.data, *stage.probes)])
            loading = seconds(lambda: (study.context.models.drop(), study.context.models.base()))
            ratios, spent, bounds = [], [], []
            for turn in range(options.rounds):
                place = folder / f"control-{task}-{turn}"
                place.mkdir()
                ours = seconds(lambda stage=stage, place=place: stage.run(study.context, place))
                other = seconds(lambda stage=stage, to=bounds: to.append(theirs(study, stage))) - loading
                spent.append((ours, other))
                ratios.append(ours / other)
            own, other = (statistics.median(each) for each in zip(*spent, strict=True))
            print(
                f"control of {task}, {options.rows} rows, {options.precision}: {own:.1f} s, transformers.Trainer "
                f"{other:.1f} s, ratio {statistics.median(ratios):.0%} ({min(ratios):.0%}-{max(ratios):.0%}), "
                f"by multiplications {statistics.median(bounds):.0%}",
                flush=True,
            )


def measure(*command: str) -> tuple[float, float]:
    """Processor seconds and peak memory in GB of a command of the package."""
    with subprocess.Popen([sys.executable, "-m", "lightning_layerscope", *command], stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"layerscope {' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def run_study(folder: Path, options: argparse.Namespace) -> None:
    """One line: processor time and memory of a study of two checkpoints, and of two extractions."""
    import torch
    from transformers import AutoModelForCausalLM

    tuned = folder / "tuned"
    shutil.copytree(options.model, tuned)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.mul_(1 + 0.01 * torch.randn_like(parameter))
    model.save_pretrained(tuned)
    del model
    path = plan(folder, options, tuned=str(tuned))
    ratios, peaks = [], []
    for _ in range(options.rounds):
        shutil.rmtree(folder / "study", ignore_errors=True)
        study, peak = measure("study", "run", str(path), "--yes")
        arguments = ["--tasks", str(folder / "tasks"), "--dtype", "float32", "--examples-per-task", "64", "--overwrite"]
        each = [
            measure("extract", str(place), *arguments, "--out", str(folder / "states"))[0]
            for place in (options.model, tuned)
        ]
        ratios.append(study / sum(each))
        peaks.append(peak)
        print(f"study {study:.0f} s, two extractions {sum(each):.0f} s", file=sys.stderr, flush=True)
    print(
        f"study of two checkpoints: {statistics.median(ratios):.2f} times the processor time of two extractions "
        f"({min(ratios):.2f}-{max(ratios):.2f}), peak {max(peaks):.2f} GB"
    )


PARTS = {"stages": run_stages, "training": run_training, "study": run_study}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", required=True, help="folder of JSONL files")
    parser.add_argument("--select", nargs="+", default=["cola", "multi30k_en_de"])
    parser.add_argument("--rows", type=int, default=64, help="to train on")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="of trainings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), options)


if __name__ == "__main__":
    main()
