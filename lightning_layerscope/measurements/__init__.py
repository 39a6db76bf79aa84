"""Measurements of a run, and the record that keeps them."""

from lightning_layerscope.measurements.measurement import Measurement, take_measurement
from lightning_layerscope.measurements.record import RunRecord

__all__ = ["Measurement", "RunRecord", "take_measurement"]
