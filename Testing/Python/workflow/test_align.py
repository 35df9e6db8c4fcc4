"""``rtresponsecam align`` on a phantom study."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.imaging.grid import Grid


@pytest.fixture(scope="module")
def points(result, tmp_path_factory):
    """Twenty points whose value is the map there, another value of chance, and one far outside; RAS."""
    values = sitk.GetArrayFromImage(result.cam)
    index = np.argwhere(values != 0)
    chosen = index[np.random.default_rng(0).choice(len(index), 20, replace=False)]
    places = Grid.of(result.cam).to_lps(chosen[:, ::-1])
    path = tmp_path_factory.mktemp("points") / "points.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "z", "value", "type"])
        for place, at in zip(places, chosen, strict=True):
            x, y, z = place
            writer.writerow([-x, -y, z, values[tuple(at)], "same"])
            writer.writerow([-x, -y, z, np.random.default_rng(int(at.sum())).normal(), "chance"])
        writer.writerow([500, 0, 0, 1, "same"])
    return path


def test_points_of_the_map_itself_align_with_it(study_folder, points, tmp_path, capsys):
    out = tmp_path / "out"
    habitats = sitk.ReadImage(str(study_folder / "truth" / "resistant_planning.nrrd")) > 0
    sitk.WriteImage(habitats, str(tmp_path / "habitats.nrrd"))
    options = ["--points", str(points), "--frame", "RAS", "--radius", "0.5", "--error", "0.3", "--json"]
    options += ["--habitats", str(tmp_path / "habitats.nrrd")]
    assert main(["--quiet", "align", str(study_folder / "dicom"), "--out", str(out), *options]) == DONE
    content = json.loads(capsys.readouterr().out)
    assert content["points"] == 40
    assert content["alignment"]["same"]["rho"] > 0.95
    assert abs(content["alignment"]["chance"]["rho"]) < 0.6
    assert content["alignment"]["same"]["slope"] is None  # one patient has no levels of patients
    assert "1 of 41 points" in " ".join(c["text"] for c in content["cautions"])
    assert {row["lesion"] for row in content["habitats"]} <= {"L1", "L2", "L3"}
    with (out / "samples.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 40
    assert len(list(out.glob("points_*.png"))) == 2


def test_what_cannot_be_aligned_is_said(study_folder, points, tmp_path, capsys):
    folder = str(study_folder / "dicom")
    for arguments, word in (
        ([folder], "--points"),
        ([folder, "--points", str(points)], "--frame"),
        ([folder, folder, "--points", str(points), "--frame", "RAS"], "one name"),
        ([folder, "--slide", str(points)], "image"),
    ):
        assert main(["--quiet", "align", *arguments, "--out", str(tmp_path / "out")]) == BAD_INPUT
        assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_points_of_another_study_are_refused(study_folder, tmp_path, capsys):
    path = tmp_path / "points.csv"
    path.write_text("x,y,z,value,study\n1,2,3,4,P9\n")
    arguments = ["--quiet", "align", str(study_folder / "dicom"), "--points", str(path), "--frame", "LPS"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert "P9" in capsys.readouterr().err
