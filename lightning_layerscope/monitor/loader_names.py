"""Names of the validation dataloaders, in the order in which the trainer runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_layerscope.wording import count


def loader_names(loaders: Any, flattened: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """One name per dataloader.

    Args:
        loaders: What the user returned: one loader, or lists and dicts of them, in any nesting.
        flattened: The same loaders in the trainer's order.
        names: The user's own names, in the trainer's order; they go first.

    Returns:
        The keys on the way to each loader, as ``"b"`` or ``"a/0"``.

    Raises:
        ValueError: When there are no names, or the wrong number of them.
    """
    if names is not None:
        if len(names) != len(flattened):
            raise ValueError(
                f"passive.tasks names {count(len(names), 'task')} for {count(len(flattened), 'dataloader')}."
            )
        return [str(name) for name in names]
    if not isinstance(loaders, Mapping):
        raise ValueError(
            "passive mode measures one task per validation dataloader and needs their names: return a dict "
            '{"task": dataloader}, or pass passive=Passive(tasks=[...]) in their order.'
        )
    # By the loader itself and not by its position: who flattens dicts in another order is followed.
    paths: dict[int, list[str]] = {}
    for path, loader in _leaves(loaders, (), {id(loader) for loader in flattened}):
        paths.setdefault(id(loader), []).append("/".join(path))
    try:
        ordered = [paths[id(loader)].pop(0) for loader in flattened]
    except (KeyError, IndexError):
        ordered = []
    if len(ordered) != len(flattened) or len(set(ordered)) != len(ordered):
        raise ValueError(
            f"the names of {len(flattened)} validation dataloaders cannot be told from how they are nested; pass "
            "passive=Passive(tasks=[...]) in their order."
        )
    return ordered


def _leaves(node: Any, path: tuple[str, ...], known: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dataloader with the keys that lead to it; a dataset that is a list is not looked into."""
    if id(node) in known:
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, (*path, str(key)), known)
    elif isinstance(node, list | tuple):
        for position, value in enumerate(node):
            yield from _leaves(value, (*path, str(position)), known)
