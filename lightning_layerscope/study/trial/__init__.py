"""The trial behind ``layerscope advise``: its evidence and its trainings as stages, run here or on Ray."""
