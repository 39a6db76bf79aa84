"""The report: one HTML page of a run, or of several side by side, to work with."""

from lightning_layerscope.sinks.report.page import write_comparison, write_report

__all__ = ["write_comparison", "write_report"]
