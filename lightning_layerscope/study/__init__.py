"""The whole paper as one command: plan, train, measure, compare, report."""
