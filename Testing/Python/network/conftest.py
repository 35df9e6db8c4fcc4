"""Lesions of a phantom study as the network sees them, and the shipped model."""

from __future__ import annotations

import pytest

from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.network.bundle import load_bundle


@pytest.fixture(scope="session")
def patches(study):
    head = head_intensity(study.mr)
    return [sample_patch(study.mr, head, x.structure, study.dose, 20.0) for x in study.lesions]


@pytest.fixture(scope="session")
def shipped(bundle_folder):
    return load_bundle(bundle_folder, "cpu")
