"""The scale-space classifier: fixed stem, autoencoder, evidence heads; its registry entries and its training."""
