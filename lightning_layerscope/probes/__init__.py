"""Probes: the fixed, tokenised prompts of each task that are measured again and again."""

from lightning_layerscope.probes.probe import Probe
from lightning_layerscope.probes.probe_set import ProbeSet

__all__ = ["Probe", "ProbeSet"]
