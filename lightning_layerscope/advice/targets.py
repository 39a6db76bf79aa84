"""The matrices of a model's layers that adapters can be put on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lightning_layerscope.compat.transformers import is_conv1d
from lightning_layerscope.extraction import find_layers


@dataclass(frozen=True)
class TargetModule:
    """One matrix of a layer.

    Attributes:
        name: Full dotted name in the model.
        layer: 1..L.
        size: Parameters of an adapter of rank 1: inputs + outputs.
        transposed: Whether its weight is stored as ``(inputs, outputs)``, as GPT-2's are.
    """

    name: str
    layer: int
    size: int
    transposed: bool = False

    @property
    def kind(self) -> str:
        """The last part of its name, e.g. ``"q_proj"``."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Targets:
    """All matrices of a model that may get an adapter.

    Attributes:
        stack: Dotted name of the list of layers, e.g. ``"model.layers"``.
        num_layers: L.
        modules: In order of the layers.
        elsewhere: Names of matrices of the same kinds outside the stack (a decoder beside the encoder, a vision tower).
    """

    stack: str
    num_layers: int
    modules: tuple[TargetModule, ...]
    elsewhere: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of matrices there are, sorted."""
        return tuple(sorted({module.kind for module in self.modules}))

    def in_layers(self, layers: Sequence[int]) -> tuple[TargetModule, ...]:
        """The matrices of some layers."""
        wanted = set(layers)
        return tuple(module for module in self.modules if module.layer in wanted)

    def budget(self, layers: int, rank: int) -> int:
        """Parameters of adapters of that rank on that many average layers."""
        return round(layers * rank * sum(module.size for module in self.modules) / self.num_layers)


def find_targets(
    model: nn.Module,
    kinds: Sequence[str] = ("q_proj", "v_proj"),
    layer_modules: str | Sequence[nn.Module] | None = None,
) -> Targets:
    """Find the matrices of the given kinds in a model's layers.

    Args:
        model: Without adapters.
        kinds: Ends of the modules' names, e.g. ``"q_proj"`` or ``"attention.query_key_value"``.
        layer_modules: The layers, where they are not found by themselves (``find_layers``).

    Raises:
        ValueError: When a kind is not there, a module of that name is no matrix, or layers cannot be found.
    """
    stack = find_layers(model, layer_modules)
    modules: list[TargetModule] = []
    inside: set[str] = set()
    for number, (prefix, layer) in enumerate(zip(stack.names, stack.modules, strict=True), start=1):
        for name, module in layer.named_modules(prefix=prefix):
            if _ends(name, kinds):
                modules.append(_target(name, module, number))
                inside.add(name)
    missing = [kind for kind in kinds if not any(_ends(module.name, [kind]) for module in modules)]
    if missing:
        there = sorted({n.rpartition(".")[2] for n, m in stack.modules[0].named_modules() if _matrix(m) is not None})
        raise ValueError(f"the layers of {type(model).__name__} have no matrix named {missing}; they have {there}.")
    elsewhere = [name for name, _ in model.named_modules() if _ends(name, kinds) and name not in inside]
    return Targets(stack.names[0].rpartition(".")[0], stack.num_layers, tuple(modules), tuple(elsewhere))


def weights_of(model: nn.Module, targets: Targets) -> dict[str, Tensor]:
    """The weights of all target matrices by name, without their gradients; nothing is copied."""
    return {module.name: model.get_parameter(f"{module.name}.weight").detach() for module in targets.modules}


def _target(name: str, module: nn.Module, layer: int) -> TargetModule:
    weight = _matrix(module)
    if weight is None:
        raise ValueError(f"{name} is a {type(module).__name__}, not a matrix that an adapter can be put on.")
    return TargetModule(name, layer, sum(weight.shape), transposed=is_conv1d(module))


def _matrix(module: nn.Module) -> Tensor | None:
    weight = getattr(module, "weight", None)
    known = isinstance(module, nn.Linear) or is_conv1d(module)
    return weight if known and isinstance(weight, Tensor) and weight.ndim == 2 else None


def _ends(name: str, kinds: Sequence[str]) -> bool:
    return any(name == kind or name.endswith(f".{kind}") for kind in kinds)
