"""Compare two checkpoints on disk, layer by layer: which layers of the second still hold what the first held?

Two small models stand for yours; with `--first` and `--second` name any two folders or Hugging Face names of one depth.
"""

import argparse
from pathlib import Path

from lightning_layerscope import (
    LayerProfile,
    ProbeSet,
    ReferenceBank,
    compare,
    extract_hidden_states,
    find_transitions,
)
from lightning_layerscope.tasks import load_tasks, toy_tasks
from lightning_layerscope.training import load_model, pretrain, raw_texts, small_llama, train_tokenizer


def make_two(folder: Path) -> tuple[Path, Path]:
    """A model, and the same one after 20 steps of training."""
    tasks = toy_tasks(train=32, test=16)
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=800)
    model = small_llama(tokenizer, width=32, layers=6)
    paths = folder / "first", folder / "second"
    for path in paths:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        pretrain(model, tokenizer, raw_texts(tasks), steps=20, batch_size=8)
    return paths


def main(out: Path, tasks: str = "toy", first: str | None = None, second: str | None = None) -> LayerProfile:
    if first is None or second is None:
        first, second = map(str, make_two(out))

    # The first model's states become the reference; it can be stored, and serve many comparisons.
    model, tokenizer = load_model(first)
    probes = ProbeSet.from_tasks(load_tasks(tasks, splits=["test"]), tokenizer, examples_per_task=32)
    bank = ReferenceBank.from_states(extract_hidden_states(model, probes), name="first")
    bank.save(out / "first.bank")

    # The second model reads the same prompts, token by token.
    model, _ = load_model(second)
    probes.check_model(model)
    profile = compare(extract_hidden_states(model, probes), bank)
    profile.to_parquet(out / "profile.parquet")

    print(profile.mean_curve().round(3).to_string(index=False))
    print(find_transitions(profile).describe())
    return profile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("example-compare"))
    parser.add_argument("--tasks", default="toy")
    parser.add_argument("--first")
    parser.add_argument("--second")
    options = parser.parse_args()
    main(options.out, options.tasks, options.first, options.second)
