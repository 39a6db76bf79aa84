"""Stages with inputs, a folder that keeps their results, and two ways of running them. Knows no model, task or plan."""
