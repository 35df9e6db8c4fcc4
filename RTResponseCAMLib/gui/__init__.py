"""Sections and helpers of the Slicer module's panel. The only package that imports qt."""
