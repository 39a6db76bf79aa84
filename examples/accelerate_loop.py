"""Watch a model that a loop trains with Accelerate: its processes, precision, trackers and checkpoints."""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import lightning_layerscope as ls
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer


def main(out: Path, steps: int) -> ls.LayerProfile:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, project_dir=str(out))  # log_with="wandb"
    # accelerator.init_trackers("my project")

    tasks = toy_tasks(train=64, test=16)
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=800)
    model = small_llama(tokenizer, width=32, layers=6).train()

    def collate(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        padding = batch["attention_mask"] == 0
        return {**batch, "labels": batch["input_ids"].masked_fill(padding, -100)}

    loader = DataLoader(tasks.texts("train"), batch_size=8, shuffle=True, collate_fn=collate)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=2e-3), loader)

    # The monitor logs to the accelerator's trackers and writes to its project_dir.
    probes = ls.ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=16)
    monitor = ls.watch(
        model, probes, accelerator=accelerator, at_steps=[steps // 4, steps // 2], max_overhead=None, total_steps=steps
    )
    accelerator.register_for_checkpointing(monitor)  # save_state keeps it; load_state belongs here, before the block

    step = 0
    with monitor:
        while step < steps:
            for batch in loader:
                with accelerator.accumulate(model):
                    accelerator.backward(model(**batch).loss)
                    optimizer.step()
                    optimizer.zero_grad()
                if accelerator.sync_gradients:
                    step += 1
                    monitor.step(step)
                if step == steps:
                    break
    accelerator.save_state(str(out / "checkpoint"))
    accelerator.end_training()  # closes the trackers: behind the block, which still logs to them

    profile = ls.LayerProfile.from_parquet(out / "layerscope" / "profile.parquet")
    accelerator.print(profile.mean_curve().round(3).to_string(index=False))
    accelerator.print(f"report: {out / 'layerscope' / 'report.html'}")
    return profile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("example-accelerate"))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    main(options.out, options.steps)
