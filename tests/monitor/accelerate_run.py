"""One process of a run under accelerate, of transformers.Trainer or a loop; test_distributed_monitor.py starts two."""

import contextlib
import os
import runpy
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import accelerate  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import lightning_layerscope as ls  # noqa: E402
from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor  # noqa: E402

OPTIONS = {"every_n_steps": 2, "max_overhead": None, "verbose": False}


def by_trainer(tiny, out: Path, probes, model):
    """Train with transformers' Trainer; gives the monitor, where there are probes."""
    rows = [{"input_ids": row, "labels": row} for row in tiny["make_rows"]()]
    monitors = [] if probes is None else [TransformersLayerSimilarityMonitor(probes, **OPTIONS)]
    arguments = transformers.TrainingArguments(
        output_dir=str(out), max_steps=4, per_device_train_batch_size=4, use_cpu=True, ddp_backend="gloo",
        learning_rate=1e-2, report_to=[], save_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=rows, callbacks=monitors).train()
    return monitors


def by_loop(tiny, out: Path, probes, model):
    """The same with a loop of one's own and an Accelerator."""
    accelerator = accelerate.Accelerator(cpu=True, project_dir=str(out))
    loader = torch.utils.data.DataLoader(tiny["make_rows"](), batch_size=4, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    monitors = [] if probes is None else [ls.watch(model, probes, accelerator=accelerator, **OPTIONS)]
    with contextlib.ExitStack() as stack:
        for monitor in monitors:
            stack.enter_context(monitor)
        for _, batch in zip(range(4), loader, strict=False):
            accelerator.backward(model(input_ids=batch, labels=batch).loss)
            optimizer.step()
            optimizer.zero_grad()
            for monitor in monitors:
                monitor.step()
    return monitors


def main(kind: str, out: Path) -> None:
    tiny = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    probes = tiny["make_probes"](tasks=5, examples=6)
    ends = {}
    for what in ("plain", "watched"):
        tiny["seed"]()
        model = tiny["make_llama"]()
        run = {"trainer": by_trainer, "loop": by_loop}[kind]
        monitors = run(tiny, out / what, probes if what == "watched" else None, model)
        ends[what] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if os.environ["RANK"] == "0":
        ends["failures"] = dict(monitors[0].monitor.failures.counts)
        torch.save(ends, out / "end.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
