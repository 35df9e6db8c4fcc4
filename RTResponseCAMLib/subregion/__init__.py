"""Subregions of lesions from an evidence map: voxel selection, dose statistics, simulated boost, and warnings."""
