"""Numbers that describe a lesion for classifiers that are no network: image gradients, radiomics, dose."""
