"""The verbs: predict and train. Each reads like the sentence study → lesion → evidence → scene."""
