"""What each signal of the monitor costs, in multiples of the measurement it comes with.

    python benchmarks/signals.py [--rounds 5] [--threads 1]

A plain measurement (hidden states of 8 tasks x 64 prompts and their comparison with the reference) and each signal are
timed in turn within every round, on a random Llama with LoRA, and with all of its weights in training where that makes
another signal of it; medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lightning_layerscope import ReferenceBank, extract_hidden_states, take_measurement
from lightning_layerscope.monitor.behaviour import BehaviourSource
from lightning_layerscope.monitor.gradients import groups_of, task_gradients
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.signals import measure_signals
from lightning_layerscope.monitor.weights import WeightReference
from lightning_layerscope.options import Signals
from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.training import add_lora

TASKS, PROMPTS, TOKENS, ANSWER, VOCABULARY = 8, 64, 64, 8, 4096
SKILLS, SHORT = 6, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    adapted, full = (make_model(options.width, options.layers, lora=lora) for lora in (True, False))
    probes = make_probes(TASKS, PROMPTS, TOKENS)
    bank = ReferenceBank.from_states(extract_hidden_states(adapted, probes))

    def plain() -> None:
        take_measurement(extract_hidden_states(adapted, probes), bank, step=0)

    calls = signals(adapted, full, probes)
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        whole = seconds(plain)
        for name, call in calls.items():
            ratios[name].append(seconds(call) / whole)
    print("| signal | multiples of a plain measurement | by round |\n|---|---|---|")
    for name, found in ratios.items():
        print(f"| {name} | {statistics.median(found):.3f} | {min(found):.3f}-{max(found):.3f} |")


def signals(adapted: torch.nn.Module, full: torch.nn.Module, probes: ProbeSet) -> dict[str, Callable[[], object]]:
    """Name to what the signal does at every measurement but the first."""
    states = extract_hidden_states(adapted, probes)
    copied = WeightReference("copy")
    copied.begin(full)

    def of_states(model: torch.nn.Module, weights: WeightReference | None = None, **on: bool) -> Callable[[], object]:
        return lambda: measure_signals(Signals(**on), model, states, "debiased", weights)

    def of_answers(retention: ProbeSet | None = None, **on: bool) -> Callable[[], object]:
        settings = Settings(probes=probes, signals=Signals(**on), retention=retention)
        source, host = BehaviourSource(settings, probes, retention), HostState(adapted, 0, 0)
        source.measure(host, {})  # the first one is the beginning that later ones are compared with
        return lambda: source.measure(host, {})

    groups = groups_of(probes)
    return {
        "`update`, LoRA": of_states(adapted, update=True),
        "`update`, full tuning against a copy": of_states(full, copied, update=True),
        "`neighbour_similarity`": of_states(adapted, neighbour_similarity=True),
        "`effective_rank`": of_states(adapted, effective_rank=True),
        "`separability`": of_states(adapted, separability=True),
        "`answer_loss`": of_answers(answer_loss=True),
        "`kl`": of_answers(kl=True),
        "`answer_loss` and `kl`": of_answers(answer_loss=True, kl=True),
        f"`retention`, {SKILLS} x 32 short prompts": of_answers(make_probes(SKILLS, 32, SHORT)),
        "`gradient_conflict`, LoRA": lambda: task_gradients(adapted, probes, groups),
        "`gradient_conflict`, full tuning": lambda: task_gradients(full, probes, groups),
    }


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def make_model(width: int, layers: int, *, lora: bool) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config)
    return add_lora(model) if lora else model


def make_probes(tasks: int, prompts: int, tokens: int) -> ProbeSet:
    generator = torch.Generator().manual_seed(0)
    probes = []
    for task in range(tasks):
        rows = torch.randint(3, VOCABULARY, (prompts, tokens + ANSWER), generator=generator).tolist()
        names = tuple(f"t{task}/{row}" for row in range(prompts))
        ids, answers = (tuple(tuple(row[part]) for row in rows) for part in (slice(tokens), slice(tokens, None)))
        probes.append(Probe(f"t{task}", "c", names, names, ids, answers=answers))
    return ProbeSet(probes, tokenizer_name="random", vocab_size=VOCABULARY)


if __name__ == "__main__":
    main()
