"""Evidence maps of any model on the patient's voxels, gradient CAMs for comparison, and checks of maps."""
