"""The MRML scene: geometry, units, colors and hierarchy as Slicer and SlicerRT expect them; views drawn for real."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: no MRML here")
vtk = pytest.importorskip("vtk", reason="vtk is not installed: no MRML here")

from RTResponseCAMLib.colors import evidence_palette, isodose_levels  # noqa: E402
from RTResponseCAMLib.imaging.grid import Grid  # noqa: E402
from RTResponseCAMLib.imaging.planes import contour_volume_cc  # noqa: E402
from RTResponseCAMLib.scene.build import build_scene, new_scene  # noqa: E402
from RTResponseCAMLib.scene.lesions import notes_of, row_from, stored_subregion_threshold  # noqa: E402
from RTResponseCAMLib.scene.nodes import add_segment  # noqa: E402
from RTResponseCAMLib.scene.save import save_scene  # noqa: E402
from RTResponseCAMLib.scene.subregion import stored_subregions  # noqa: E402
from RTResponseCAMLib.scene.vtk_logging import silence_vtk  # noqa: E402


@pytest.fixture(scope="module")
def built(result):
    scene = new_scene()
    with silence_vtk():
        nodes = build_scene(scene, result)
    return scene, nodes


def test_a_voxel_lies_in_ras_where_it_lies_in_lps(built, result):
    _, nodes = built
    for node, image in ((nodes.mr, result.study.mr), (nodes.cam, result.cam), (nodes.dose, result.study.dose.image)):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        index = [3, 5, 2]
        ras = matrix.MultiplyPoint([*index, 1])[:3]
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(ras, (-x, -y, z), atol=1e-6)


def test_the_cam_is_stored_raw_as_float(built, result):
    from vtk.util.numpy_support import vtk_to_numpy

    _, nodes = built
    values = vtk_to_numpy(nodes.cam.GetImageData().GetPointData().GetScalars())
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, sitk.GetArrayViewFromImage(result.cam).ravel())


def test_the_cam_has_quantity_units_and_its_own_colors(built, result):
    _, nodes = built
    assert nodes.cam.GetVoxelValueQuantity().GetCodeMeaning() == "Local evidence for non-response"
    assert nodes.cam.GetVoxelValueUnits().GetCodeValue() == "1"
    assert nodes.cam.GetAttribute("RTResponseCAM.model_sha256") == result.provenance["model_sha256"]
    colors = nodes.cam.GetDisplayNode().GetColorNode()
    assert colors.GetName() == "RTResponseCAM evidence"
    assert not colors.GetHideFromEditors()
    assert nodes.cam.GetDisplayNode().GetWindowLevelMin() == -6
    assert nodes.cam.GetDisplayNode().GetWindowLevelMax() == 6


def test_zero_evidence_is_clear_and_both_classes_are_not():
    palette = evidence_palette()
    assert palette[127, 3] == palette[128, 3] == 0
    assert palette[0, 3] == palette[255, 3] == 1
    assert palette[0, 2] > palette[0, 0]
    assert palette[255, 0] > palette[255, 2]


def test_the_dose_carries_slicerrts_attributes(built):
    scene, nodes = built
    assert nodes.dose.GetAttribute("DicomRtImport.DoseVolume") == "1"
    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    visit = tree.GetItemParent(tree.GetItemByDataNode(nodes.dose))
    assert tree.GetItemAttribute(visit, "DicomRtImport.DoseUnitName") == "GY"
    assert tree.GetItemName(tree.GetItemParent(visit)).startswith("P-")


def test_isodoses_lie_at_their_dose(built, result):
    _, nodes = built
    assert len(nodes.isodoses) >= 2
    dose = result.study.dose.image
    for level, model in zip(isodose_levels(result.study), nodes.isodoses, strict=False):
        points = np.array(
            [model.GetPolyData().GetPoint(i) for i in range(0, model.GetPolyData().GetNumberOfPoints(), 97)]
        )
        values = []
        for x, y, z in points:
            index = dose.TransformPhysicalPointToContinuousIndex((-x, -y, z))
            if all(0 <= c <= n - 1 for c, n in zip(index, dose.GetSize(), strict=True)):
                values.append(dose.EvaluateAtContinuousIndex(index))
        assert np.median(values) == pytest.approx(level, rel=0.01)
        assert not model.GetDisplayNode().GetScalarVisibility()


def test_segments_are_the_lesions(built, result):
    _, nodes = built
    segmentation = nodes.lesions.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(result.predictions)
    for number, prediction in enumerate(result.predictions):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName() == f"{prediction.lesion.id} {prediction.lesion.structure.name}"
        image = segment.GetRepresentation("Binary labelmap")
        from vtk.util.numpy_support import vtk_to_numpy

        count = int((vtk_to_numpy(image.GetPointData().GetScalars()) > 0).sum())
        volume = count * np.prod(image.GetSpacing()) / 1000
        assert volume == pytest.approx(contour_volume_cc(prediction.lesion.structure), rel=0.15)


def test_subregions_are_the_voxels_of_the_result(built, result):
    from RTResponseCAMLib.imaging.grid import Grid
    from RTResponseCAMLib.scene.lesions import SUBREGION_TAG, tag_of
    from RTResponseCAMLib.scene.nodes import segment_mask

    _, nodes = built
    segments = nodes.subregions.GetSegmentation()
    ids = [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())]
    labels, grid = sitk.GetArrayViewFromImage(result.subregions), Grid.of(result.subregions)
    found = np.zeros(labels.shape, dtype=int)
    names = [prediction.lesion.id for prediction in result.predictions]
    for segment in ids:
        mask, box = segment_mask(nodes.subregions, segment)
        i, j, k = grid.start_of(box)
        part = found[k : k + mask.shape[0], j : j + mask.shape[1], i : i + mask.shape[2]]
        part[mask] = 1 + names.index(tag_of(segments.GetSegment(segment), SUBREGION_TAG))
    assert ids
    np.testing.assert_array_equal(found, labels)


def test_the_saved_scene_holds_every_node_and_no_identity(built, tmp_path):
    scene, _ = built
    with silence_vtk():
        save_scene(scene, tmp_path / "scene.mrb")
    with zipfile.ZipFile(tmp_path / "scene.mrb") as bundle:
        names = bundle.namelist()
        text = bundle.read(next(n for n in names if n.endswith(".mrml"))).decode()
    for part in ("MR T1 MPRAGE +C", "Evidence for non-response (CAM)", "Dose (Gy)", "Lesions (GTV)", "evidence.csv"):
        assert any(part in name for name in names), part
    assert "PHANTOM-4" not in text
    assert "DicomRtImport.DoseVolume" in text
    assert "ColorLegend" in text
    assert str(tmp_path) not in text


@pytest.mark.render
def test_the_saved_scene_opens_again_with_its_display(built, tmp_path):
    core = pytest.importorskip("trame_slicer.core", reason="trame-slicer is not installed: no scene reader")
    scene, _ = built
    with silence_vtk():
        save_scene(scene, tmp_path / "scene.mrb")
        app = core.SlicerApp()
        app.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the application does
        assert app.io_manager.load_scene(tmp_path / "scene.mrb")
    cam = app.scene.GetFirstNodeByName("Evidence for non-response (CAM)")
    assert cam.GetDisplayNode().GetColorNode().GetName() == "RTResponseCAM evidence"
    assert cam.GetDisplayNode().GetWindowLevelMax() == 6
    color = [0.0] * 4
    cam.GetDisplayNode().GetColorNode().GetColor(127, color)
    assert color[3] == 0
    composite = app.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundVolumeID() == cam.GetID()
    assert 0 < composite.GetForegroundOpacity() < 1


@pytest.mark.slow
@pytest.mark.render
def test_slice_views_show_mr_evidence_and_outlines(result, tmp_path):
    pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: no slice views here")
    from matplotlib.image import imread

    from RTResponseCAMLib.viewer import picture_lesions

    paths = picture_lesions(result, tmp_path)
    assert len(paths) == len(result.predictions)
    picture = imread(paths[0])[..., :3]
    colored = picture.max(axis=2) - picture.min(axis=2) > 0.15
    for third in range(3):
        part = slice(third * picture.shape[1] // 3, (third + 1) * picture.shape[1] // 3)
        assert picture[:, part].mean() > 0.1  # the MR fills the view
        assert colored[:, part].mean() > 0.01  # contours, isodoses and evidence lie over it
    middle = picture.shape[1] // 6
    assert not np.allclose(picture[:, :middle], picture[:, 2 * middle : 3 * middle])


def test_a_scene_whose_writing_was_cancelled_ends_on_the_main_thread(result, tmp_path):
    """MRML must not end in a worker: a scene is kept until the main thread is asked again."""
    from RTResponseCAMLib.progress import Cancelled
    from RTResponseCAMLib.scene import save

    def cancelled(call):
        if len(steps) == 3:
            raise Cancelled
        steps.append(call())

    steps = []
    with silence_vtk():
        with pytest.raises(Cancelled):
            save.write_result_scene(result, tmp_path / "scene.mrb", on_main_thread=cancelled)
        assert len(save.LEFT_BEHIND) == 1
        save.write_result_scene(result, tmp_path / "scene.mrb")
    assert save.LEFT_BEHIND == []
    assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]


def test_a_result_in_a_scene_of_an_earlier_version_is_read():
    """Warnings, quality flags and threshold had other names."""
    row = {"segment_id": "S1", "id": "L1", "name": "GTV", "volume_cc": 1.0, "cautions": ["odd"], "doubts": ["noisy"]}
    found = row_from(row)
    assert (found.warnings, found.quality_flags, found.severities) == (("odd",), ("noisy",), ())
    cam = slicer.vtkMRMLScalarVolumeNode()
    cam.SetAttribute("RTResponseCAM.cautions", '["of the study"]')
    cam.SetAttribute("RTResponseCAM.cut", "0.7")
    assert notes_of(cam) == ("of the study",)
    assert stored_subregion_threshold(cam, 0.0) == 0.7
    cam.SetAttribute("RTResponseCAM.subregionThreshold", "0.2")
    assert stored_subregion_threshold(cam, 0.0) == 0.2


def test_a_subregion_in_a_scene_of_an_earlier_version_keeps_its_tags(built, result):
    _, nodes = built
    segments = nodes.lesions.GetSegmentation()
    lesion = result.study.lesions[0].id
    grid = Grid.of(result.cam)
    inside = sitk.GetArrayViewFromImage(result.subregions) == 1
    created = add_segment(nodes.lesions, inside, grid=grid, name="old", color=(0, 1, 1))
    segment = segments.GetSegment(created)
    segment.SetTag("RTResponseCAM.SubregionOf", lesion)
    segment.SetTag("RTResponseCAM.Cut", "0.7")
    segment.SetTag("RTResponseCAM.Doubts", "the map is odd")
    (found,) = (s for s in stored_subregions(nodes.lesions) if s.name == "old")
    assert (found.threshold, found.quality_flags, found.lesion) == ("0.7", "the map is odd", lesion)
    segments.RemoveSegment(created)
