"""Maps of evidence: our pixel-wise CAM, and Grad-CAM from the same network for comparison."""
