"""Models that predict the response of a lesion: interface, registry, calibration, bundles, and each model."""
