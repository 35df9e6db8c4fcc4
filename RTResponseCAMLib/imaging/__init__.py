"""Grids, contours to voxels, resampling, intensity normalisation, lesion patches. LPS, mm, arrays ``[z, y, x]``."""
