"""Registry entries of standard radiomics: of the MR, of the dose, and of the change during treatment."""

from __future__ import annotations

from RTResponseCAMLib.models.baselines import logistic_entry

TEXT = "pyradiomics with the settings stored in run.json"
ENTRIES = (
    logistic_entry(
        "radiomics", "Radiomics, original", color="#0072b2", families=("radiomics",), keep="_original_", predictors=TEXT
    ),
    logistic_entry(
        "radiomics-filters",
        "Radiomics, with LoG and wavelet",
        color="#56b4e9",
        families=("radiomics",),
        predictors=TEXT,
    ),
    logistic_entry("dosiomics", "Dosiomics", color="#009e73", families=("dosiomics",), predictors=TEXT, dose=True),
    logistic_entry("delta", "Delta radiomics", color="#cc79a7", families=("delta",), predictors=TEXT),
)
