"""LayerProfile: similarity per step, layer and task, with its uncertainty; and the difference of two."""

from lightning_layerscope.profiles.diff import ProfileDiff
from lightning_layerscope.profiles.meta import ProfileMeta
from lightning_layerscope.profiles.profile import LayerProfile
from lightning_layerscope.profiles.schema import COLUMNS

__all__ = ["COLUMNS", "LayerProfile", "ProfileDiff", "ProfileMeta"]
