"""The probes themselves, from whatever the settings name."""

from __future__ import annotations

import os
from typing import Any

from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.probes import ProbeSet


def resolve_probes(settings: Settings, *, tokenizer: Any = None, datamodule: Any = None) -> ProbeSet:
    """The probes themselves, from whatever the settings name.

    Args:
        settings: What the user asked for.
        tokenizer: What the trainer, module or data module offers; the settings' own goes first. A processor (of a
            vision language model, say) stands for its tokenizer.
        datamodule: The trainer's, for ``probes="datamodule"``.

    Raises:
        ValueError: When tasks are named and no tokenizer is known, or the source holds nothing that fits.
        FileNotFoundError: When nothing of that name is there.
    """
    if isinstance(settings.probes, ProbeSet):
        return settings.probes
    own, offered = _text_tokenizer(settings.tokenizer), _text_tokenizer(tokenizer)
    if settings.probes == "datamodule":
        if datamodule is None:
            raise ValueError(
                'probes="datamodule" needs a data module with probe_tasks(); pass it to trainer.fit, or name a source.'
            )
        tokenizer = own if own is not None else offered
        if tokenizer is None:
            raise ValueError('probes="datamodule" needs a tokenizer: pass tokenizer=, or give the module one.')
        return ProbeSet.from_datamodule(datamodule, tokenizer, **settings.probe_options)
    source = os.fspath(settings.probes)  # type: ignore[arg-type]
    # A trainer's tokenizer is not checked against a saved probe set: it may be wrapped. The model's embedding is.
    from lightning_layerscope.probes.files import is_probe_file

    if own is None and not is_probe_file(source):
        own = offered
    return ProbeSet.from_source(source, own, **settings.probe_options)


def resolve_retention(settings: Settings, probes: ProbeSet, tokenizer: Any = None) -> ProbeSet | None:
    """What must not be lost, from whatever the settings name; read as the probes are.

    Args:
        settings: What the user asked for.
        probes: The probes of the same run.
        tokenizer: What the trainer, module or data module offers; the settings' own goes first.

    Raises:
        ValueError: When tasks are named and no tokenizer is known, or the source holds nothing that fits.
        FileNotFoundError: When nothing of that name is there.
    """
    if settings.retention is None or isinstance(settings.retention, ProbeSet):
        return settings.retention
    from lightning_layerscope.probes.files import is_probe_file

    source = os.fspath(settings.retention)
    if is_probe_file(source):
        return ProbeSet.load(source)
    own = _text_tokenizer(settings.tokenizer)
    tokenizer = own if own is not None else _text_tokenizer(tokenizer)
    if tokenizer is None:
        raise ValueError(
            f"retention={source!r} needs a tokenizer: pass tokenizer=, or give the module one (Lightning) or the "
            "trainer (processing_class=)."
        )
    options: dict[str, Any] = {"max_length": probes.max_length, "token_choice": probes.token_choice}
    if probes.template.get("chat"):
        options["template"] = probes.template
    if source == "general":
        from lightning_layerscope.tasks.general import general_tasks

        return ProbeSet.from_tasks(general_tasks(), tokenizer, **options)
    return ProbeSet.from_source(source, tokenizer, **options)


def _text_tokenizer(processing_class: Any) -> Any:
    """The tokenizer inside a processor; anything else as it is."""
    if isinstance(processing_class, str | None):
        return processing_class
    inner = getattr(processing_class, "tokenizer", None)
    return processing_class if inner is None or not callable(inner) else inner
