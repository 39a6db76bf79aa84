"""Optional dependencies: import one, or say which command installs it."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import an optional dependency.

    Args:
        module: Dotted name of the module, e.g. ``"datasets"``.
        extra: The extra of this package that installs it, e.g. ``"datasets"``.

    Returns:
        The imported module.

    Raises:
        ImportError: When it is not installed; the message holds the ``pip`` command. A module that is installed but
            fails inside itself (another of *its* imports is missing) raises its own error, unchanged.

    Example:
        >>> require("json", "datasets").loads("[1]")
        [1]
        >>> require("no_such_module", "report")
        Traceback (most recent call last):
        ImportError: no_such_module is not installed; install it with: pip install "lightning-layerscope[report]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # `a.b` is missing when `a` or `a.b` is: anything else is a fault inside the installed module.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ImportError(
            f'{module} is not installed; install it with: pip install "lightning-layerscope[{extra}]"', name=module
        ) from error
