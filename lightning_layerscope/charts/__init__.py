"""Pictures from profiles: curves over layers and heatmaps, as matplotlib figures; nothing is logged or shown here."""

from lightning_layerscope.charts.curves import chosen_steps, layer_curve
from lightning_layerscope.charts.heatmaps import heatmap_layer_x_step, heatmap_layer_x_task
from lightning_layerscope.charts.render import to_image, to_png, to_svg
from lightning_layerscope.charts.squares import heatmap_layer_x_layer, heatmap_task_x_task

__all__ = [
    "chosen_steps",
    "heatmap_layer_x_layer",
    "heatmap_layer_x_step",
    "heatmap_layer_x_task",
    "heatmap_task_x_task",
    "layer_curve",
    "to_image",
    "to_png",
    "to_svg",
]
