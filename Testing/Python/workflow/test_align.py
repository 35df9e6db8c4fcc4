"""``rtresponsecam align`` on a phantom study."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.warnings import WarningCode
from RTResponseCAMLib.workflow.align import align_study


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


@pytest.mark.slow
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
    assert "1 of 41 points" in " ".join(c["text"] for c in content["warnings"])
    assert {row["lesion"] for row in content["habitats"]} <= {"L1", "L2", "L3"}
    with (out / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert all(row["patient"].startswith("P-") for row in rows)  # a pseudonym, not the folder's name
    assert len(list(out.glob("points_*.png"))) == 2
    (markups,) = out.glob("points_1_P-*.mrk.json")
    listed = json.loads(markups.read_text())["markups"][0]
    assert listed["type"] == "Fiducial"
    first = listed["controlPoints"][0]["position"]
    sign = [1, 1, 1] if listed["coordinateSystem"] == "LPS" else [-1, -1, 1]
    expected = [s * float(rows[0][f"{axis}_lps_mm"]) for s, axis in zip(sign, "xyz", strict=True)]
    assert first == pytest.approx(expected, abs=2e-3)


def test_what_cannot_be_aligned_is_said(study_folder, points, tmp_path, capsys):
    folder = str(study_folder / "dicom")
    for arguments, word in (
        ([folder], "--points"),
        ([folder, "--points", str(points)], "--frame"),
        ([folder, folder, "--points", str(points), "--frame", "RAS"], "the same name"),
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


@pytest.mark.slow
def test_habitats_alone_are_enough_and_doubts_go_along(study_folder, tmp_path, capsys):
    whole = sitk.ReadImage(str(study_folder / "truth" / "resistant_planning.nrrd"))
    sitk.WriteImage(sitk.Cast(whole * 0 + 1, sitk.sitkUInt8), str(tmp_path / "all.nrrd"))
    arguments = ["--quiet", "align", str(study_folder / "dicom"), "--habitats", str(tmp_path / "all.nrrd")]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == DONE
    printed = capsys.readouterr().out
    content = json.loads(printed, parse_constant=pytest.fail)  # NaN is no JSON
    assert {row["share_of_lesion"] for row in content["habitats"]} == {1.0}
    assert {row["mean_evidence_elsewhere"] for row in content["habitats"]} == {None}
    assert "never seen a patient" in printed


def test_doubtful_evidence_is_said(result):
    flagged = replace(result, predictions=tuple(
        replace(p, warnings=(WarningCode.CAM_CHECK(what="is odd"),)) for p in result.predictions
    ))  # fmt: skip
    found = align_study(flagged, (), radius_mm=1.0, error_mm=0.0)
    assert sum(c.code == "flagged-evidence" and "odd" in c.text for c in found.warnings) == 3


@pytest.mark.slow
def test_a_slide_is_moved_as_slicer_saves_its_transform(result, study_folder, tmp_path, capsys):
    """The map itself as a slide, displaced and turned; the transform that brings it back, and the wrong way round."""
    values = sitk.Cast(result.cam, sitk.sitkFloat64)
    slide = values - float(sitk.GetArrayViewFromImage(values).min()) + 1
    slide = sitk.Mask(slide, sitk.NotEqual(result.cam, 0.0))
    onto_slide = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.0, 0.0, 0.4, (12.0, -7.0, 9.0))
    displaced = sitk.Euler3DTransform(onto_slide)
    # Slide millimeters are MR millimeters put through the transform that the file states.
    matrix = np.asarray(onto_slide.GetMatrix()).reshape(3, 3)
    slide.SetOrigin(onto_slide.TransformPoint(result.cam.GetOrigin()))
    slide.SetDirection((matrix @ np.asarray(result.cam.GetDirection()).reshape(3, 3)).ravel().tolist())
    sitk.WriteImage(slide, str(tmp_path / "slide.nrrd"))
    sitk.WriteTransform(displaced, str(tmp_path / "right.tfm"))
    sitk.WriteTransform(displaced.GetInverse(), str(tmp_path / "wrong.tfm"))
    options = ["--slide", str(tmp_path / "slide.nrrd"), "--block", "2", "--radius", "1", "--error", "0", "--json"]
    found = {}
    for name in ("right", "wrong"):
        arguments = [str(study_folder / "dicom"), *options, "--transform", str(tmp_path / f"{name}.tfm")]
        assert main(["--quiet", "align", *arguments, "--out", str(tmp_path / name)]) == DONE
        found[name] = json.loads(capsys.readouterr().out)
    assert found["right"]["alignment"]["slide"]["rho"] > 0.9
    assert found["right"]["alignment"]["slide"]["low"] is None  # one patient: no interval over patients
    assert found["wrong"]["points"] < 0.5 * found["right"]["points"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_flat_raster_is_a_slide(result, study_folder, tmp_path, capsys, suffix):
    """One slice of the map as a picture, placed by its transform: the same ranking as the map's."""
    k = int(np.argmax((sitk.GetArrayViewFromImage(result.cam) != 0).sum(axis=(1, 2))))
    flat = result.cam[:, :, k]
    size = [int(n * step) for n, step in zip(flat.GetSize(), flat.GetSpacing(), strict=True)]
    plane = sitk.Resample(flat, size, sitk.Transform(), sitk.sitkNearestNeighbor, flat.GetOrigin(), (1.0, 1.0))
    values = sitk.GetArrayFromImage(plane)
    picture = np.where(values != 0, np.interp(values, (values.min(), values.max()), (1, 65535)), 0).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / f"slide.{suffix}"))  # 1 mm pixels, no place
    onto_slide = sitk.Euler3DTransform()
    x, y, z = result.cam.TransformIndexToPhysicalPoint((0, 0, k))
    onto_slide.SetTranslation((-x, -y, -z))
    sitk.WriteTransform(onto_slide, str(tmp_path / "slide.tfm"))
    options = ["--slide", str(tmp_path / f"slide.{suffix}"), "--transform", str(tmp_path / "slide.tfm"), "--json"]
    options += ["--out", str(tmp_path / "out"), "--radius", "1", "--error", "0"]
    assert main(["--quiet", "align", str(study_folder / "dicom"), *options]) == DONE
    content = json.loads(capsys.readouterr().out)
    assert content["points"] > 20
    assert content["alignment"]["slide"]["rho"] > 0.8


def test_a_slide_in_color_is_refused_by_name(study_folder, tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 8, 3), np.uint8), isVector=True), str(tmp_path / "he.png"))
    options = ["--slide", str(tmp_path / "he.png"), "--out", str(tmp_path / "out")]
    assert main(["--quiet", "align", str(study_folder / "dicom"), *options]) == BAD_INPUT
    assert "he.png: has 3 components" in capsys.readouterr().err
