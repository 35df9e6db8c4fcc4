"""Cohorts of studies: one manifest for phantoms and patients, and an importer for the layout of each data set."""
