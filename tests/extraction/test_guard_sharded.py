"""no_trace around parameters that are spread over processes (DTensor), in a process group of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_layerscope.extraction import ModelChangedError, no_trace


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[nn.Module]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        yield fully_shard(
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double(), mesh=init_device_mesh("cpu", (1,))
        )
    finally:
        torch.distributed.destroy_process_group()


def test_a_forward_pass_leaves_sharded_parameters_alone(sharded: nn.Module) -> None:
    parameters = dict(sharded.named_parameters())
    before = {name: parameter.to_local().clone() for name, parameter in parameters.items()}  # type: ignore[operator]
    with no_trace(sharded):
        sharded(torch.ones(3, 4, dtype=torch.float64))
    assert all(torch.equal(parameters[name].to_local(), local) for name, local in before.items())  # type: ignore[operator]
    assert all(module.training for module in sharded.modules())
    # FSDP itself must not have lost track of where its parameters are.
    sharded(torch.arange(12.0, dtype=torch.float64).view(3, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in sharded.parameters())
    torch.optim.SGD(sharded.parameters(), 0.1).step()
    sharded(torch.ones(3, 4, dtype=torch.float64))


def test_a_write_to_a_local_part_is_told(sharded: nn.Module) -> None:
    with pytest.raises(ModelChangedError, match=r"parameter '0\.weight' was changed in place"), no_trace(sharded):
        sharded.get_parameter("0.weight").to_local().data.view(-1)[3].neg_()  # type: ignore[operator]
