"""How good the three approaches are, found out without leaks: splits, metrics with intervals, comparison."""
