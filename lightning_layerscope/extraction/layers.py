"""Find the stack of layers that a model's hidden states flow through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from lightning_layerscope.compat.torch import name_without_compile, uncompiled
from lightning_layerscope.compat.transformers import input_embedding, is_checkpointing_layer, text_config

_CONTAINERS = (nn.ModuleList, nn.Sequential)
# What configurations call the number of layers of a stack; the first is the rule, the others occur in encoder-decoders.
_COUNTS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")


@dataclass(frozen=True)
class DecoderLayers:
    """The layers of a model in order; layer ``l`` of the package (1..L) is ``modules[l - 1]``.

    Attributes:
        modules: The layer modules.
        names: Their dotted names in the model that was searched.
        num_layers: L, the length of the whole stack.
        width: Size of one hidden state, where a configuration tells it.
        embedding: The token embedding, where the model tells it.
    """

    modules: tuple[nn.Module, ...]
    names: tuple[str, ...]
    num_layers: int
    width: int | None
    embedding: nn.Module | None


def find_layers(model: nn.Module, name: str | Sequence[nn.Module] | None = None) -> DecoderLayers:
    """Find the layer stack by structure, or by name.

    Without a name, the stack is the ``ModuleList`` as long as the configuration of its nearest ancestor says
    (``config.get_text_config().num_hidden_layers``). Wrappers (PEFT, DDP, compile, a LightningModule around the model)
    do not matter.

    Args:
        model: The model, or anything that holds it.
        name: The stack's dotted name or an unambiguous end of it (``"encoder.block"``), a pattern for the names of the
            layers themselves (``"blocks.*"``; ``*`` stands for one part between dots), or the layer modules.

    Raises:
        ValueError: When no stack or several fit; the message lists the candidates.
    """
    if name is not None and not isinstance(name, str):
        return _describe(model, _named(model, list(name)))
    return _describe(model, _by_structure(model) if name is None else _by_name(model, name))


def _by_structure(model: nn.Module) -> list[tuple[str, nn.Module]]:
    stacks: list[str] = []
    modules = dict(model.named_modules())
    for name, module in modules.items():
        nested = any(name.startswith(f"{outer}.") for outer in stacks)  # experts, heads: lists inside a layer
        if isinstance(module, nn.ModuleList) and not nested and len(module) in _expected_lengths(modules, name):
            stacks.append(name)
    for prefer in (_has_checkpointing_layers, _stands_by_the_embedding):
        if len(stacks) > 1:
            stacks = [name for name in stacks if prefer(modules, name)] or stacks
    if len(stacks) == 1:
        return [(f"{stacks[0]}.{key}", child) for key, child in modules[stacks[0]].named_children()]
    if stacks:
        raise ValueError(
            f"{type(model).__name__} has several layer stacks: {', '.join(stacks)}. "
            f'Name the one that is meant: layer_modules="{stacks[0]}".'
        )
    raise ValueError(
        f"Found no layer stack in {type(model).__name__}: no ModuleList has the length that a configuration "
        f"(config.num_hidden_layers) gives. {_candidates(model)}"
    )


def _expected_lengths(modules: dict[str, nn.Module], name: str) -> set[int]:
    """The numbers of layers in the nearest configuration above a module."""
    for ancestor in _ancestors(name):
        config = text_config(modules[ancestor])
        counts = {getattr(config, key, None) for key in _COUNTS}
        if numbers := {count for count in counts if isinstance(count, int) and count > 0}:
            return numbers
    return set()


def _ancestors(name: str) -> Iterator[str]:
    """``a.b.c`` -> ``a.b``, ``a``, ````."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _has_checkpointing_layers(modules: dict[str, nn.Module], name: str) -> bool:
    return all(is_checkpointing_layer(uncompiled(child)) for child in modules[name].children())


def _stands_by_the_embedding(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether the stack's parent also holds the token embedding (a vision tower's does not)."""
    for ancestor in _ancestors(name):
        embedding = input_embedding(modules[ancestor])
        if embedding is not None:
            parent = modules[name.rpartition(".")[0]]
            return any(module is embedding for module in parent.modules())
    return False


def _by_name(model: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    modules = dict(model.named_modules())
    if "*" in name:
        pattern = name_without_compile(name).split(".")
        layers = [(key, module) for key, module in modules.items() if _matches(key, pattern)]
        if not layers:
            raise ValueError(f"No module of {type(model).__name__} matches {name!r}. {_candidates(model)}")
        parents = {key.split(".")[: -len(pattern)].__repr__() for key, _ in layers}
        if len(parents) > 1:
            raise ValueError(
                f"{name!r} matches layers in several places of {type(model).__name__}, from {layers[0][0]!r} to "
                f"{layers[-1][0]!r}. Write more of the name."
            )
        return layers
    exact = [key for key in modules if key == name] or [
        key for key in modules if _matches(key, name_without_compile(name).split("."))
    ]
    if len(exact) != 1:
        what = f"fits several modules: {', '.join(exact)}" if exact else "fits no module"
        raise ValueError(f"The name {name!r} {what} of {type(model).__name__}. {_candidates(model)}")
    if not isinstance(modules[exact[0]], _CONTAINERS):
        raise ValueError(
            f"{exact[0]!r} is a {type(modules[exact[0]]).__name__}, not a ModuleList or Sequential of layers. "
            f"Name the list, or use a pattern for the layers themselves. {_candidates(model)}"
        )
    return [(f"{exact[0]}.{key}", child) for key, child in modules[exact[0]].named_children()]


def _matches(key: str, pattern: list[str]) -> bool:
    parts = name_without_compile(key).split(".")[-len(pattern) :]
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def _named(model: nn.Module, layers: list[nn.Module]) -> list[tuple[str, nn.Module]]:
    names = {id(module): key for key, module in model.named_modules()}
    for position, layer in enumerate(layers):
        if id(layer) not in names:
            raise ValueError(
                f"layer_modules[{position}] ({type(layer).__name__}) is not a module of {type(model).__name__}."
            )
    if len(set(map(id, layers))) < len(layers):
        raise ValueError("layer_modules holds the same module twice; give every layer once, in order.")
    return [(names[id(layer)], layer) for layer in layers]


def _candidates(model: nn.Module) -> str:
    lists = [f"{key} ({len(m)})" for key, m in model.named_modules() if isinstance(m, _CONTAINERS) and len(m) > 1]
    shown = ", ".join(lists[:12]) + (", ..." if len(lists) > 12 else "")
    return (
        f"Lists of modules to name with layer_modules=: {shown}."
        if lists
        else "It has no list of modules to choose from."
    )


def _describe(model: nn.Module, named_layers: list[tuple[str, nn.Module]]) -> DecoderLayers:
    if not named_layers:
        raise ValueError(f"The layer stack of {type(model).__name__} is empty; name another with layer_modules=.")
    modules = dict(model.named_modules())
    above = [modules[key] for key in _ancestors(named_layers[0][0])]
    width = next((w for m in above if isinstance(w := getattr(text_config(m), "hidden_size", None), int)), None)
    embedding = next((e for m in above if (e := input_embedding(m)) is not None), None)
    names, layers = zip(*named_layers, strict=True)
    return DecoderLayers(tuple(layers), tuple(names), len(layers), width, embedding)
