"""What a study found: all comparisons together, in tables, curves, figures and words."""
