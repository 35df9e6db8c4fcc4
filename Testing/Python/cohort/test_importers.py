"""Each importer on a tree of exactly its data set's layout and traps; labels against the balls that were drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import trees
from openpyxl import Workbook, load_workbook
from quirks import edit, second_course

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.cohort.case import read_case
from RTResponseCAMLib.cohort.importing import check_cohort, import_cohort
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.cohort.openbtai import serial_day
from RTResponseCAMLib.cohort.sheets import read_sheet
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.imaging.planes import contour_volume_cc


def imported(name, source, tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    summary = import_cohort(name, source, folder=folder)
    rows = {row.lesion: row for row in read_cohort(folder)}
    found = check_cohort(folder)
    assert found["problems"] == []
    return rows, summary, folder


class TestProteas:
    @pytest.fixture
    def rows(self, tmp_path):
        return imported("proteas", trees.proteas(tmp_path / "src"), tmp_path)

    def test_labels_follow_necrosis_and_enhancement_at_three_months(self, rows):
        found, _, _ = rows
        first = found["P01 lesion 1"]
        assert (first.label, first.days_to_follow_up) == (0, 94)
        assert first.volume_ratio == pytest.approx((4 / 6) ** 3, rel=0.15)
        second = found["P01 lesion 2"]
        assert second.label == 1
        assert second.certainty == "indeterminate"

    def test_a_and_b_folders_are_one_person_with_two_courses(self, rows):
        found, _, _ = rows
        assert {found[f"P04{x} lesion 1"].patient_group for x in "ab"} == {"PROTEAS-P04"}
        assert [found[f"P04{x} lesion 1"].course for x in "ab"] == ["1", "2"]

    def test_edema_alone_is_a_vanished_tumor_and_a_missing_mask_is_unknown(self, rows):
        found, _, _ = rows
        assert found["P04a lesion 1"].volume_ratio == 0
        assert found["P04a lesion 1"].label == 0
        missing = found["P04b lesion 1"]
        assert (missing.label, missing.volume_ratio, missing.days_to_follow_up) == (None, None, None)

    def test_prescriptions_are_read_through_blanks_and_checked_against_the_dose(self, rows):
        found, summary, _ = rows
        assert (found["P01 lesion 1"].rx_gy, found["P01 lesion 1"].fractions) == (20, 1)
        assert (found["P33 lesion 1"].rx_gy, found["P33 lesion 1"].fractions) == (35, 7)
        assert any("the clinical sheet has 'p33a'" in text for text in summary["remarks"])

    def test_nan_outside_the_dose_grid_is_no_dose(self, rows):
        found, _, _ = rows
        study = read_case([found["P01 lesion 1"], found["P01 lesion 2"]])
        values = sitk.GetArrayViewFromImage(study.dose.image)
        assert np.isfinite(values).all()
        assert values.max() == 23
        assert [x.structure.name for x in study.lesions] == ["P01 lesion 1", "P01 lesion 2"]
        assert contour_volume_cc(study.lesions[0].structure) == pytest.approx(trees.ball(6, trees.A).sum() / 1000)


class TestBrainTrGammaKnife:
    def test_nrrd_lesions_are_matched_to_the_spreadsheet(self, tmp_path):
        rows, summary, _ = imported("brain-tr-gk", trees.brain_tr_gk(tmp_path / "src"), tmp_path)
        assert set(rows) == {
            "GK.103_1_LR atrium", "GK.103_1_L_LtFrontal", "GK.270_3_L_RtOccipital11302018",
            "GK.463_1_LLt Frontal+Cavity",
        }  # fmt: skip
        assert [rows[n].label for n in sorted(rows)] == [0, 1, 0, None]
        assert rows["GK.270_3_L_RtOccipital11302018"].fractions == 5
        assert rows["GK.103_1_LR atrium"].patient_group == "GK.103"
        assert rows["GK.103_1_LR atrium"].volume_ratio is None
        assert "not a change of volume" in rows["GK.103_1_LR atrium"].label_source
        assert any("GK.999_1_L_Cerebellum" in text for text in summary["remarks"])
        assert any("GK.463_1" in text and "not in the spreadsheet" in text for text in summary["remarks"])

    def test_dicom_courses_are_in_the_order_of_their_dates(self, tmp_path, study_folder):
        source = trees.brain_tr_gk_dicom(tmp_path / "src", study_folder / "dicom")
        folder = tmp_path / "cohort"
        folder.mkdir()
        import_cohort("brain-tr-gk", source, folder=folder)
        rows = read_cohort(folder)
        assert {row.patient_group for row in rows} == {"GK.103"}
        assert {(row.course, row.study.name[:10]) for row in rows} == {("1", "01-05-2013"), ("2", "04-18-2014")}
        assert {row.lesion for row in rows} == {"GTV 1", "GTV 2", "GTV 3"}
        assert {row.label for row in rows if row.course == "2"} == {0}
        assert {row.label for row in rows if row.course == "1"} == {None}


def test_vestibular_schwannoma_takes_the_tumor_by_name(tmp_path, study_folder):
    export = Path(shutil.copytree(study_folder / "dicom", tmp_path / "export"))

    def rename(data):
        for item, name in zip(data.StructureSetROISequence, ("Cochlea", "tv", "Test", "*Skull"), strict=True):
            item.ROIName = name

    edit(export / "plan_t1c" / "RS.dcm", rename)
    rows, _, _ = imported("vs-seg", trees.vs_seg(tmp_path / "src", export), tmp_path)
    assert set(rows) == {"tv"}
    assert rows["tv"].label is None


def test_ucsf_scans_of_one_person_share_a_group(tmp_path):
    source = trees.ucsf_bmsr(tmp_path / "src")
    folder = tmp_path / "cohort"
    folder.mkdir()
    summary = import_cohort("ucsf-bmsr", source, folder=folder)
    rows = read_cohort(folder)
    assert len(rows) == 6
    assert {row.patient_group for row in rows} == {"UCSF-100101", "UCSF-100202"}
    assert any("100363B" in text for text in summary["remarks"])
    assert check_cohort(folder)["problems"] == []


class TestOpenBtai:
    def test_lesions_keep_their_numbers_over_time(self, tmp_path):
        rows, _, _ = imported("openbtai", trees.openbtai(tmp_path / "src"), tmp_path)
        first, second = rows["010005 lesion 1"], rows["010005 lesion 2"]
        assert (first.label, first.days_to_follow_up, first.rx_gy) == (0, 89, 20)
        assert first.volume_ratio == pytest.approx((4 / 6) ** 3, rel=0.1)
        assert (second.label, second.certainty) == (1, "indeterminate")
        assert first.mask_values == (11, 12)
        assert rows["010006 lesion 1"].label is None

    def test_days_count_from_the_first_image_also_where_nobody_segmented_it(self, tmp_path):
        source = trees.openbtai(tmp_path / "src")
        folder = source / "010005" / "010005" / "NIFTI"
        trees.write(folder / "010005_19010401_img.nii", trees.head(), (0.9, 0.9, 1.2))
        rows, _, _ = imported("openbtai", source, tmp_path)
        assert rows["010005 lesion 1"].label is None  # radiosurgery on day 2: 76 days before the first mask

    def test_the_first_of_several_treatments_of_a_lesion_counts(self, tmp_path):
        source = trees.openbtai(tmp_path / "src")
        path = source / "OpenBTAI_METS_ClinicalData_Nov2023.xlsx"
        book = load_workbook(path)
        again = [None] * 45
        again[0], again[4], again[31], again[32], again[33] = "010005", 1, "18", 1, 400
        book.active.append(again)
        book.save(path)
        rows, _, _ = imported("openbtai", source, tmp_path)
        assert (rows["010005 lesion 1"].rx_gy, rows["010005 lesion 1"].days_to_follow_up) == (20, 89)

    def test_shifted_dates_count_as_spreadsheets_do(self):
        assert serial_day("19000101") == 1
        assert serial_day("19000228") == 59
        assert serial_day("19000301") == 61
        assert serial_day("19010618") == 535
        assert serial_day("19011399") is None


def test_a_plain_folder_gives_labels_and_prescriptions(tmp_path):
    rows, _, _ = imported("plain", trees.plain(tmp_path / "src"), tmp_path)
    assert rows["one label 1 region 1"].label == 0
    assert rows["one label 1 region 2"].label == 1
    assert rows["one label 1 region 1"].days_to_follow_up == 88
    assert (rows["two label 1"].rx_gy, rows["two label 1"].label) == (20, None)
    assert set(rows) == {"one label 1 region 1", "one label 1 region 2", "two label 1", "two label 2"}


def test_lesions_of_several_labels_are_found_again_by_place_and_keep_their_islands(tmp_path):
    """The numbers of labels may change between visits; a label may have two islands."""
    base = tmp_path / "src" / "one"
    first = 1 * trees.ball(6, trees.A) + 2 * trees.ball(4, trees.B) + 2 * trees.ball(2, trees.A + np.array([0, 14, 0]))
    later = 2 * trees.ball(6, trees.A) + 1 * trees.ball(4, trees.B) + 1 * trees.ball(2, trees.A + np.array([0, 14, 0]))
    trees.write(base / "t1c.nrrd", trees.head())
    trees.write(base / "mask.nrrd", first.astype(np.uint8))
    trees.write(base / "follow_up_90_mask.nrrd", later.astype(np.uint8))
    rows, summary, _ = imported("plain", tmp_path / "src", tmp_path)
    assert {name: round(row.volume_ratio, 2) for name, row in rows.items()} == {"one label 1": 1.0, "one label 2": 1.0}
    assert rows["one label 2"].volume_cc == pytest.approx(
        (trees.ball(4, trees.B).sum() + trees.ball(2, trees.A).sum()) / 1000
    )
    assert not any("new lesion" in text for text in summary["remarks"])


def test_labels_that_touch_are_questioned(tmp_path):
    base = tmp_path / "src" / "one"
    trees.write(base / "t1c.nrrd", trees.head())
    parts = np.where(trees.ball(3, trees.A), 1, 3 * trees.ball(6, trees.A))
    trees.write(base / "mask.nrrd", parts.astype(np.uint8))
    _, summary, _ = imported("plain", tmp_path / "src", tmp_path)
    assert any("labels touch one another" in text for text in summary["remarks"])


class TestCases:
    def manifest(self, folder, lines):
        head = "patient_group_id,course,lesion,study,mr,mask,mask_values,region,dose,rx_gy,label,label_source"
        (folder / "manifest.csv").write_text("\n".join([head, *lines]) + "\n")

    def test_each_row_has_its_own_prescription(self, tmp_path):
        trees.write(tmp_path / "t1c.nrrd", trees.head())
        trees.write(tmp_path / "mask.nrrd", (trees.ball(6, trees.A) + 2 * trees.ball(4, trees.B)).astype(np.uint8))
        trees.write(tmp_path / "dose.nrrd", np.where(trees.ball(6, trees.A), 40.0, 5.0).astype(np.float32))
        cells = "t1c.nrrd,mask.nrrd,{v},,dose.nrrd,{rx},,x"
        lines = [f"p,1,lesion {v},," + cells.format(v=v, rx=rx) for v, rx in ((1, 20), (2, 24))]
        self.manifest(tmp_path, lines)
        found = read_case(read_cohort(tmp_path))
        assert [found.plan.prescription.dose_for(x.structure) for x in found.lesions] == [20, 24]
        self.manifest(tmp_path, [line.replace(",20,", ",,").replace(",24,", ",,") for line in lines])
        found = read_case(read_cohort(tmp_path))
        assert found.dose is None
        assert [c.code for c in found.warnings] == ["dose-unused"]

    def test_prescriptions_of_rows_go_to_their_rois(self, tmp_path, study_folder):
        lines = [f"p,1,GTV {n},{study_folder / 'dicom'},,,,,,{rx},,x" for n, rx in ((1, 20), (3, 24))]
        self.manifest(tmp_path, lines)
        found = read_case(read_cohort(tmp_path))
        doses = {x.structure.name: found.plan.prescription.dose_for(x.structure) for x in found.lesions}
        assert (doses["GTV 1"], doses["GTV 3"]) == (20, 24)

    @pytest.mark.slow
    def test_rows_of_two_courses_in_one_folder_are_read_from_their_own(self, tmp_path, study_folder):
        both = tmp_path / "both"
        shutil.copytree(study_folder / "dicom", both)
        second_course(both)

        def smaller(data):
            item = data.ROIContourSequence[0]
            item.ContourSequence = item.ContourSequence[: len(item.ContourSequence) // 2]

        edit(both / "later" / "plan_t1c" / "RS.dcm", smaller)
        self.manifest(tmp_path, [f"p,{course},GTV 1,both,,,,,,,,x" for course in (1, 2)])
        rows = read_cohort(tmp_path)
        assert len({row.case for row in rows}) == 2
        volumes = [contour_volume_cc(read_case([row]).lesions[0].structure) for row in rows]
        assert volumes[1] < 0.8 * volumes[0]

    def test_a_label_that_is_no_ascii_number_is_a_bad_cell(self, tmp_path):
        trees.write(tmp_path / "t1c.nrrd", trees.head())
        self.manifest(tmp_path, ["p,1,a,,t1c.nrrd,t1c.nrrd,²,,,,,x"])
        with pytest.raises(CohortError, match="column mask_values is '²'"):
            read_cohort(tmp_path)


@pytest.mark.parametrize("name", ["proteas", "brain-tr-gk", "vs-seg", "ucsf-bmsr", "openbtai", "plain"])
def test_an_empty_folder_is_refused_by_every_importer(tmp_path, name):
    (tmp_path / "src").mkdir()
    with pytest.raises(CohortError):
        import_cohort(name, tmp_path / "src", folder=tmp_path)


def test_the_command_line_imports_and_checks(tmp_path, capsys):
    source, out = trees.plain(tmp_path / "src"), tmp_path / "out"
    assert main(["--quiet", "cohort", "import", "plain", str(source), "--out", str(out)]) == DONE
    assert "4 lesions" in capsys.readouterr().out
    assert main(["--quiet", "cohort", "check", str(out)]) == DONE
    (source / "one" / "mask.nrrd").write_bytes(b"damaged")
    assert main(["--quiet", "cohort", "check", str(out)]) == BAD_INPUT
    assert "PROBLEM line 2 to 3" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",88,", ",eighty,", r"line 2: column days_to_follow_up is 'eighty', expected days from 0"),
        (",20,1,", ",2000,1,", r"line 4: column rx_gy is '2000', expected a dose of 0.1 to 200 Gy"),
        ("mask.nrrd", "gone.nrrd", r"line 2: column mask: there is no file"),
        ("one,1,one label 1 region 2", "one,1,one label 1 region 1", r"line 3: repeats lesion"),
        (",certain,", ",surely,", r"column certainty is 'surely'"),
    ],
)
def test_every_bad_cell_is_named_by_line_and_column(tmp_path, old, new, message):
    source, folder = trees.plain(tmp_path / "src"), tmp_path / "cohort"
    folder.mkdir()
    import_cohort("plain", source, folder=folder)
    path = folder / "manifest.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CohortError, match=message):
        read_cohort(folder)


def test_one_persons_images_under_two_groups_are_refused(tmp_path):
    source, folder = trees.plain(tmp_path / "src"), tmp_path / "cohort"
    folder.mkdir()
    import_cohort("plain", source, folder=folder)
    path = folder / "manifest.csv"
    path.write_text(path.read_text().replace("one,1,one label 1 region 2", "other,1,one label 1 region 2"))
    with pytest.raises(CohortError, match="line 3: column patient_group_id is 'other', but line 2 has the same images"):
        read_cohort(folder)


def test_a_damaged_workbook_is_one_clear_error(tmp_path):
    path = tmp_path / "table.xlsx"
    book = Workbook()
    book.active.append(["a", "b"])
    book.save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02\x14\x03\x14\x00", b"PK\x01\x02\x14\x03\x90\x00"))
    with pytest.raises(CohortError, match="is not a workbook"):
        read_sheet(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CohortError, match="is not a workbook"):
        read_sheet(path)
