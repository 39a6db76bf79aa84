"""What is made in W&B out of runs that are logged there: a workspace, a report, presets of charts."""
