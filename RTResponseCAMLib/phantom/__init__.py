"""Synthetic Gamma Knife studies with known ground truth, written as DICOM like an export of GammaPlan.

The data show no patients, and results obtained with them are not clinical results. The head frame is LPS, mm, with
its origin in the middle of the brain.
"""
