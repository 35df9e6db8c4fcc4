"""Synthetic Gamma Knife studies with known truth, written as the DICOM that GammaPlan writes.

Nothing here is a patient, and no figure obtained on it is a clinical result. The head frame is LPS, mm, with
its origin in the middle of the brain.
"""
