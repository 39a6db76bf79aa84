"""What comes out of the advice, for the libraries that train."""

from lightning_layerscope.advice.exports.axolotl import unfrozen_parameters
from lightning_layerscope.advice.exports.lora import lora_config, lora_options
from lightning_layerscope.advice.exports.schedule import finetuning_schedule

__all__ = [
    "finetuning_schedule",
    "lora_config",
    "lora_options",
    "unfrozen_parameters",
]
