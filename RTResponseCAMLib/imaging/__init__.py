"""Grids, contours to voxels, resampling, registration, lesion patches. Coordinates LPS in mm, arrays ``[z, y, x]``."""
