"""Time and memory of extracting hidden states, against the ways people do it today.

python benchmarks/extraction.py                  # everything, a few minutes
python benchmarks/extraction.py --rounds 5
python benchmarks/extraction.py --memory-of NAME  # used by itself: one way in a fresh process

Workload: the state of the last prompt token at all layers, for 64 prompts of 134 to 300 tokens that share 133 tokens
(the length of Llama-2's system prompt), on a random Llama of width 512, 8 layers, vocabulary 32,000, float32, CPU.

Ways:
  paper     batch size 1, output_hidden_states=True, 20 generated tokens on top, one file per example and layer
  batches   output_hidden_states=True in batches of 8 in data order, the last token taken from each layer
  package   extract_hidden_states with its defaults
  unshared  the same with share_prefix=False
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_layerscope import Probe, ProbeSet, extract_hidden_states

PROMPTS, PREFIX, LONGEST, WIDTH, LAYERS, VOCABULARY, GENERATED = 64, 133, 300, 512, 8, 32_000, 20


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=1376,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def make_probes() -> ProbeSet:
    """Lengths spread evenly over the range, in an order that has nothing to do with length."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(PREFIX + 1, LONGEST, PROMPTS).round().long()[torch.randperm(PROMPTS, generator=generator)]
    draw = [
        torch.randint(1, VOCABULARY, (int(n),), generator=generator).tolist() for n in [PREFIX, *(lengths - PREFIX)]
    ]
    ids = tuple(tuple(draw[0] + rest) for rest in draw[1:])
    names = tuple(f"prompts/test/{i}" for i in range(PROMPTS))
    return ProbeSet([Probe("prompts", "all", names, names, ids)])


@torch.no_grad()
def paper(model: LlamaForCausalLM, probes: ProbeSet) -> Tensor:
    """As in the paper's released code; returns what its files hold, before the final norm where that can be had."""
    with tempfile.TemporaryDirectory() as folder:
        for row, ids in enumerate(probes["prompts"].input_ids):
            output = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=GENERATED,
                min_new_tokens=GENERATED,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
            )
            for layer, hidden in enumerate(output.hidden_states[0]):
                torch.save(hidden[0, -1].clone(), f"{folder}/{layer}-{row}.pt")
        files = [[torch.load(f"{folder}/{layer}-{row}.pt") for row in range(PROMPTS)] for layer in range(LAYERS + 1)]
    return torch.stack([torch.stack(rows) for rows in files])[1:]


@torch.no_grad()
def batches(model: LlamaForCausalLM, probes: ProbeSet) -> Tensor:
    kept = []
    prompts = probes["prompts"].input_ids
    for start in range(0, PROMPTS, 8):
        rows = [torch.tensor(ids) for ids in prompts[start : start + 8]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        last = torch.tensor([len(row) - 1 for row in rows])
        mask = torch.arange(ids.shape[1]) <= last[:, None]
        output = model(ids, attention_mask=mask.long(), output_hidden_states=True)
        kept.append(torch.stack([hidden[torch.arange(len(rows)), last] for hidden in output.hidden_states[1:]]))
    return torch.cat(kept, dim=1)


def package(model: LlamaForCausalLM, probes: ProbeSet) -> Tensor:
    return extract_hidden_states(model, probes)["prompts"]


def unshared(model: LlamaForCausalLM, probes: ProbeSet) -> Tensor:
    return extract_hidden_states(model, probes, share_prefix=False)["prompts"]


WAYS: dict[str, Callable[[LlamaForCausalLM, ProbeSet], Tensor]] = {
    "paper": paper,
    "batches": batches,
    "package": package,
    "unshared": unshared,
}


def resident() -> int:
    """Resident bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("VmRSS is not in /proc/self/status: memory is measured on Linux only")


class PeakMemory(threading.Thread):
    """Samples resident memory every millisecond; the kernel's own high-water mark also counts loading the model."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.peak = resident()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.001):
            self.peak = max(self.peak, resident())

    def stop(self) -> int:
        self.ended.set()
        self.join()
        return max(self.peak, resident()) - self.before


def peak_memory(name: str) -> int:
    """Bytes above the loaded model, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name, "--threads", str(torch.get_num_threads())]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["bytes"])


def arithmetic() -> tuple[float, float]:
    """Operations of the package's passes with and without sharing; attention counts, padding does not."""
    per_token = 2 * sum(p.numel() for p in make_model().model.layers.parameters())
    lengths = [len(ids) for ids in make_probes()["prompts"].input_ids]

    def attention(start: int, end: int) -> float:  # queries start..end, each over all tokens up to itself
        return 4 * WIDTH * LAYERS * sum(range(start + 1, end + 1))

    whole = sum(n * per_token + attention(0, n) for n in lengths)
    shared = PREFIX * per_token + attention(0, PREFIX)
    shared += sum((n - PREFIX) * per_token + attention(PREFIX, n) for n in lengths)
    return shared, whole


def peak_arithmetic() -> float:
    """Operations per second of the largest matrix product of the model, on as many rows as a batch has: the limit."""
    x, w = torch.randn(1024, WIDTH), torch.randn(1376, WIDTH)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        torch.nn.functional.linear(x, w)
        times.append(time.perf_counter() - start)
    return 2 * x.shape[0] * WIDTH * w.shape[0] / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-of", choices=WAYS)
    parser.add_argument("--skip-memory", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, probes = make_model(), make_probes()
    if options.memory_of:
        sampler = PeakMemory()
        sampler.start()
        WAYS[options.memory_of](model, probes)
        print(json.dumps({"bytes": sampler.stop()}))
        return

    lengths = [len(ids) for ids in probes["prompts"].input_ids]
    print(
        f"{PROMPTS} prompts of {min(lengths)}-{max(lengths)} tokens, {sum(lengths):,} in all; {options.threads} threads"
    )
    results = {name: way(model, probes) for name, way in WAYS.items()}  # also warms everything up
    for (
        name
    ) in WAYS:  # the last layer of output_hidden_states has gone through the final norm, which is applied here too
        expected, got = results["batches"], results[name]
        if name in ("package", "unshared"):
            with torch.no_grad():
                got = torch.cat([got[:-1], model.model.norm(got[-1:])])
        print(f"  {name:9s} largest difference from batches: {float((got - expected).abs().max()):.1e}")

    times: dict[str, list[float]] = {name: [] for name in WAYS}
    limits: list[float] = []
    for _ in range(options.rounds):  # interleaved: a slow minute of the machine hits every way
        limits.append(peak_arithmetic())
        for name, way in WAYS.items():
            start = time.perf_counter()
            way(model, probes)
            times[name].append(time.perf_counter() - start)
            print(f"  {name}: {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
    memory = {} if options.skip_memory else {name: peak_memory(name) for name in WAYS}

    operations = dict(zip(("package", "unshared"), arithmetic(), strict=True))
    print(f"\n{'way':9s} {'seconds':>8s} {'package is':>13s} {'rounds':>14s} {'of limit':>9s} {'peak memory':>13s}")
    for name in WAYS:
        ratios = sorted(t / p for t, p in zip(times[name], times["package"], strict=True))
        row = f"{name:9s} {statistics.median(times[name]):8.2f} {statistics.median(ratios):6.1f}x faster"
        row += f" {f'{ratios[0]:.1f}-{ratios[-1]:.1f}x':>14s}"
        shares = [operations.get(name, 0) / t / limit for t, limit in zip(times[name], limits, strict=True)]
        row += f" {statistics.median(shares):9.0%}" if name in operations else " " * 10
        if memory:
            row += f" {memory[name] / 2**20:10.1f} MB ({memory[name] / memory['package']:.1f}x the package's)"
        print(row)


if __name__ == "__main__":
    main()
