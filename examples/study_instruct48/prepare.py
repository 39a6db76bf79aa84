"""Train the base model of the study: a tokenizer and a small Llama, on the tasks' raw text alone.

    python examples/study_instruct48/prepare.py --tasks path/to/instruct48 --out examples/study_instruct48/base

Prompts and answers are taken apart for it, so that the base model knows the language of the tasks and not the tasks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from lightning_layerscope.tasks import load_tasks
from lightning_layerscope.training import pretrain, raw_texts, small_llama, train_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", required=True, help="folder of JSONL files, or any other source of tasks")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and tokenizer")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--threads", type=int, help="of torch; default all")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    texts = raw_texts(load_tasks(options.tasks))
    tokenizer = train_tokenizer(texts, vocab_size=options.vocabulary)
    model = small_llama(tokenizer, width=options.width, layers=options.layers, max_length=1024)
    print(f"{len(texts):,} texts, {model.num_parameters():,} parameters", flush=True)

    def progress(step: int, loss: float) -> None:
        if step == 1 or step % 100 == 0:
            print(f"step {step} of {options.steps}: loss {loss:.2f}", file=sys.stderr, flush=True)

    losses = pretrain(model, tokenizer, texts, steps=options.steps, batch_size=16, length=128, progress=progress)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    print(f"loss {losses[0]:.2f} at the start, {sum(losses[-50:]) / len(losses[-50:]):.2f} at the end: {options.out}")


if __name__ == "__main__":
    main()
