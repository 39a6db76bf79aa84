"""What is known of torch still holds; each test fails when torch changes under it."""

import subprocess
import sys

import torch
from torch import nn

from lightning_layerscope.compat.torch import (
    MODULE_TABLES,
    has_sharded_parameters,
    inner_tensors,
    is_compiled,
    is_fsdp1,
    is_scripted,
    name_without_compile,
    scripted_attributes,
    uncompiled,
    version,
)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.calls, self.kept = 0, [1.0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return self.linear(x)


def test_every_module_keeps_its_tables_under_these_names() -> None:
    module = Counter()
    assert set(MODULE_TABLES) <= set(vars(module))
    module.register_buffer("ones", torch.ones(1), persistent=False)
    module.register_forward_hook(print, with_kwargs=True, always_call=True)
    module.register_forward_pre_hook(print, with_kwargs=True)
    with_linear = {name for name in MODULE_TABLES if vars(module)[name]} | {
        name for name in MODULE_TABLES if vars(module.linear)[name]
    }
    assert with_linear == set(MODULE_TABLES)  # nothing is kept elsewhere
    assert {name for name, table in vars(module).items() if isinstance(table, dict) and table} <= set(MODULE_TABLES)


def test_versions_count_in_place_changes() -> None:
    tensor = torch.ones(2)
    before = version(tensor)
    assert version(tensor.add_(1)) == before + 1
    with torch.inference_mode():
        assert version(torch.ones(2)) == -1
    assert version(nn.LazyLinear(2).weight) == -1


def test_attributes_of_scripted_modules_are_found() -> None:
    scripted = torch.jit.script(Counter())
    assert is_scripted(scripted)
    assert not is_scripted(Counter())
    assert {"calls": 0, "kept": [1.0]}.items() <= scripted_attributes(scripted).items()
    scripted(torch.ones(1, 2))
    assert scripted_attributes(scripted)["calls"] == 1
    traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    assert is_scripted(traced)
    assert isinstance(scripted_attributes(traced), dict)


def test_compiled_modules_are_seen_by_wrapper_and_in_place() -> None:
    plain, in_place = Counter(), Counter()
    wrapper = torch.compile(plain, backend="eager")
    in_place.compile(backend="eager")
    assert uncompiled(wrapper) is plain
    assert uncompiled(plain) is plain
    assert is_compiled(wrapper)
    assert is_compiled(in_place)
    assert not is_compiled(plain)
    names = [name for name, _ in nn.Sequential(wrapper).named_parameters()]
    assert names == ["0._orig_mod.linear.weight", "0._orig_mod.linear.bias"]
    assert name_without_compile(names[0]) == "0.linear.weight"


def test_sharded_parameters_are_told_without_an_import() -> None:
    assert not has_sharded_parameters(Counter())
    code = "import sys, torch\nfrom lightning_layerscope.compat.torch import has_sharded_parameters as sharded\n"
    code += "sharded(torch.nn.Linear(2, 2)); assert 'torch.distributed.fsdp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sharded_parameters_are_recognised(tmp_path: object) -> None:
    """FSDP 1, FSDP 2 and tensor parallel in one process."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.tensor import Replicate, distribute_tensor

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        second = fully_shard(Counter(), mesh=mesh)
        assert has_sharded_parameters(second)
        parallel = Counter()
        parallel.linear.weight = nn.Parameter(distribute_tensor(torch.ones(2, 2), mesh, [Replicate()]))
        assert has_sharded_parameters(parallel)
        inner = inner_tensors(parallel.linear.weight)
        assert inner is not None
        assert [part.tolist() for part in inner] == [[[1.0, 1.0], [1.0, 1.0]]]
        first = FullyShardedDataParallel.__new__(FullyShardedDataParallel)  # making one needs an accelerator
        assert is_fsdp1(first)
    finally:
        torch.distributed.destroy_process_group()
    assert inner_tensors(torch.ones(2)) is None
