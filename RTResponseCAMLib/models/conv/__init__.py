"""The convolutional autoencoder-classifier: learned convolutions, their local energies, and bounded evidence."""
