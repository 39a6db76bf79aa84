"""How a run was measured: short settings, and everything as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord


def configuration(record: RunRecord) -> tuple[list[tuple[str, str]], str]:
    """Short settings as pairs, and everything as JSON."""
    meta = record.measurements[-1].profile.meta.to_dict()
    left_out = ("tasks", "clusters", "warnings", "notes")
    values: dict[str, Any] = {key: value for key, value in meta.items() if key not in left_out}
    values.update({key: value for key, value in record.config.items() if key not in left_out})
    values["run id"] = record.run_id
    whole = {"config": record.config, "profile": meta, "rewound": record.rewound}
    short = [(key.replace("_", " "), _plain(value)) for key, value in values.items() if _plain(value)]
    return short, json.dumps(whole, indent=1, ensure_ascii=False, default=str)


def _plain(value: Any) -> str:
    """A setting in one line; what is longer stands in the JSON below."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {part}" for key, part in value.items() if not isinstance(part, dict | list))
    if isinstance(value, list | tuple):
        numbers = all(isinstance(part, int) for part in value)
        if numbers and len(value) > 2 and list(value) == list(range(value[0], value[-1] + 1)):
            return f"{value[0]} to {value[-1]}"
        return ", ".join(str(part) for part in value)
    return str(value)
