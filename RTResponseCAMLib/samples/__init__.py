"""Features of a lesion for classifiers that are not neural networks: image gradients, radiomics, dose."""
