"""Measurements of a run, and the record that keeps them."""

from lightning_layerscope.measurements.measurement import Measurement
from lightning_layerscope.measurements.record import RunRecord
from lightning_layerscope.measurements.take import take_measurement

__all__ = ["Measurement", "RunRecord", "take_measurement"]
