"""What happens before a study runs: its stages are laid out, checked, and their cost estimated."""
