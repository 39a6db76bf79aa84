"""One process of a transformers.Trainer run under accelerate; two are started by test_distributed_monitor.py."""

import os
import runpy
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import torch  # noqa: E402
import transformers  # noqa: E402

from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor  # noqa: E402


def main(out: Path) -> None:
    tiny = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    rows = [{"input_ids": row, "labels": row} for row in tiny["make_rows"]()]
    probes = tiny["make_probes"](tasks=5, examples=6)
    ends = {}
    for what in ("plain", "watched"):
        tiny["seed"]()
        monitors = []
        if what == "watched":
            monitors = [TransformersLayerSimilarityMonitor(probes, every_n_steps=2, max_overhead=None, verbose=False)]
        arguments = transformers.TrainingArguments(
            output_dir=str(out / what), max_steps=4, per_device_train_batch_size=4, use_cpu=True, ddp_backend="gloo",
            learning_rate=1e-2, report_to=[], save_strategy="no", disable_tqdm=True, seed=0,
        )  # fmt: skip
        model = tiny["make_llama"]()
        transformers.Trainer(model, arguments, train_dataset=rows, callbacks=monitors).train()
        ends[what] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if os.environ["RANK"] == "0":
        ends["failures"] = dict(monitors[0].monitor.failures.counts)
        torch.save(ends, out / "end.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
