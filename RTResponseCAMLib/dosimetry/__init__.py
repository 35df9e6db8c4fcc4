"""Dose to targets: dose-volume histograms, plan indices, biologically effective dose."""
