"""The monitor itself, whatever trainer it hangs on: when to measure, on what, and what happens to the result."""
