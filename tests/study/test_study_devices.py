"""A training of a study on several devices, through Lightning's strategies that stay in the program."""

from pathlib import Path

from safetensors.torch import load_file

from lightning_layerscope.study.study import Study

from .conftest import PLAN, MakePlan


def test_a_training_on_two_devices_comes_back_trained(make_plan: MakePlan, tmp_path: Path) -> None:
    text = PLAN.replace("learning_rate", "devices: 2, strategy: ddp_spawn, accelerator: cpu, learning_rate")
    Study(make_plan(text)).run(only=["control:parity"])
    [stage] = (tmp_path / "study" / "stages").glob("control.parity*")
    weights = load_file(stage / "model" / "adapter_model.safetensors")
    # Adapters begin with a product of zero; only the processes that trained could have changed it.
    assert all(bool(tensor.any()) for name, tensor in weights.items() if "lora_B" in name)
    assert (stage / "monitor" / "profile.parquet").is_dir()
