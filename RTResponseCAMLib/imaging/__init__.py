"""Grids, contours to voxels, resampling, intensity normalization, lesion patches. LPS, mm, arrays ``[z, y, x]``."""
