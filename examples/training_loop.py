"""Watch a model in a training loop of your own: no trainer, three lines of the monitor."""

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import lightning_layerscope as ls
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer


def main(out: Path, steps: int) -> ls.LayerProfile:
    tasks = toy_tasks(train=32, test=16)
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=800)
    model = small_llama(tokenizer, width=32, layers=6).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def collate(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        padding = batch["attention_mask"] == 0
        return {**batch, "labels": batch["input_ids"].masked_fill(padding, -100)}

    loader = DataLoader(tasks.texts("train"), batch_size=16, shuffle=True, collate_fn=collate)
    probes = ls.ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=16)
    monitor = ls.watch(
        model,
        probes,
        at_steps=[steps // 4, steps // 2],
        max_overhead=None,
        output_dir=out / "layerscope",
        total_steps=steps,
        # loggers=run,  # of wandb.init(), or a SummaryWriter: numbers, curves and heatmaps go there, too
    )

    # The block takes the baseline before the first step, and the last measurement behind the last one.
    with monitor:
        step = 0
        while step < steps:
            for batch in loader:
                loss = model(**batch).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                monitor.step(step)  # optimiser steps over all epochs
                if step == steps:
                    break

    # What a checkpoint needs beside model and optimiser, so that a resumed loop goes on with its run:
    torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, out / "checkpoint.pt")

    profile = ls.LayerProfile.from_parquet(out / "layerscope" / "profile.parquet")
    print(profile.mean_curve().round(3).to_string(index=False))
    print(f"report: {out / 'layerscope' / 'report.html'}")
    return profile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("example-loop"))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    main(options.out, options.steps)
