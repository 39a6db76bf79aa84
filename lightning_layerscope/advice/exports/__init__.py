"""What comes out of the advice, for the libraries that train."""

from lightning_layerscope.advice.exports.axolotl import apply_unfrozen_parameters, unfrozen_parameters
from lightning_layerscope.advice.exports.lora import lora_config, lora_options
from lightning_layerscope.advice.exports.schedule import finetuning_schedule

__all__ = [
    "apply_unfrozen_parameters",
    "finetuning_schedule",
    "lora_config",
    "lora_options",
    "unfrozen_parameters",
]
