"""The autoencoder-classifier: fixed scale-space stem, autoencoder, evidence head; its bundle and its training."""
