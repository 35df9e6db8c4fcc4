"""Comparison of the approaches without data leakage: splits by patient, metrics with intervals, differences."""
