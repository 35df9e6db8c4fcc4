"""From a map to a contour: which voxels, what dose they received, what a boost would cost; never in silence."""
