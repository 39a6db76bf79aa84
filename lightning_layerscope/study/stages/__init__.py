"""The stages of a study: each one file with its inputs, its settings, how it is done and what it gives."""
