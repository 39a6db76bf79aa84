"""Attach the monitor to `transformers.Trainer`; it works in TRL's trainers as it does here."""

import argparse
from pathlib import Path

from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from lightning_layerscope import LayerProfile, ProbeSet
from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer


def main(out: Path, steps: int) -> LayerProfile:
    tasks = toy_tasks(train=32, test=16)
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=800)
    model = small_llama(tokenizer, width=32, layers=6)
    rows = [{"input_ids": ids} for ids in tokenizer(tasks.texts("train"))["input_ids"]]

    probes = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=16)
    monitor = TransformersLayerSimilarityMonitor(probes, at_steps=[steps // 4, steps // 2], max_overhead=None)

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            report_to=[],  # "wandb" logs scalars, curves and heatmaps there
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
        callbacks=[monitor],
    )
    trainer.train()

    profile = LayerProfile.from_parquet(out / "layerscope" / "profile.parquet")
    print(profile.mean_curve().round(3).to_string(index=False))
    print(f"report: {out / 'layerscope' / 'report.html'}")
    return profile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("example-trainer"))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    main(options.out, options.steps)
