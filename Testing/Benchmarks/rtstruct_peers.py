"""Readers of RTSTRUCT side by side: how fast, how large and how true they rasterize small lesions.

Ten ellipsoids of 0.02 to 20 cm³, off the voxel grid, are contoured on every slice of an MR of 512 × 512 × 180 voxels
of 1 mm and written as DICOM into a temporary folder. Each reader then runs alone, in a process of its own Python:

    python -m venv rt-utils        && rt-utils/bin/pip install rt-utils==1.2.7
    python -m venv platipy         && platipy/bin/pip install platipy==0.7.2
    python -m venv DicomRTTool     && DicomRTTool/bin/pip install DicomRTTool==6.2.0
    python -m venv dcmrtstruct2nii && dcmrtstruct2nii/bin/pip install dcmrtstruct2nii==5 "pydicom<3"
    python -m venv plastimatch     && plastimatch/bin/pip install plastimatch==1.10.0 numpy
    python Testing/Benchmarks/rtstruct_peers.py --threads 2 --peer own=python \
        --peer rt-utils=rt-utils/bin/python --peer platipy=platipy/bin/python \
        --peer DicomRTTool=DicomRTTool/bin/python --peer dcmrtstruct2nii=dcmrtstruct2nii/bin/python \
        --peer plastimatch=plastimatch/bin/python

Where OpenCV misses libGL, put opencv-python-headless in place of opencv-python. The first Python needs RTResponseCAM.

Time is reading the series and rasterizing every ROI, the second of two runs, without imports; of plastimatch, a
command, it is the whole process with the files it writes. Peak memory is that of the first run, imports included. An
ROI is let go once it is scored, unless the reader returns all at once.

Volume errors are against the contours themselves (polygon area × 1 mm) or, with ``--against body``, the ellipsoid
that they were drawn round. Dice is against the voxels whose center lies in the ellipsoid; a fractional occupancy is cut
at one half for Dice only.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

VOLUMES_CC = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
SHAPE = (180, 512, 512)  # z, y, x; voxels of 1 mm
ORIGIN_MM = np.array([-250.3, -240.7, -80.9])
VERTEX_STEP_MM = 0.3
TIME_LIMIT_S = 900
Masks = Iterator[tuple[str, np.ndarray | Callable[[], np.ndarray]]]


# The study


def ellipsoids() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, center (LPS mm) and matrix M, with (p - c)ᵀ M (p - c) ≤ 1 inside."""
    rng = np.random.default_rng(20240611)
    found = []
    for n, volume in enumerate(VOLUMES_CC):
        angle = 2 * np.pi * n / len(VOLUMES_CC)
        index = np.round([256 + 70 * np.cos(angle), 256 + 70 * np.sin(angle), 40 + 11 * n]) + rng.uniform(0.1, 0.9, 3)
        semi_axes = (750 * volume / np.pi) ** (1 / 3) * np.array([1.2, 1.0, 1 / 1.2])
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        found.append((f"lesion{n + 1:02d}", ORIGIN_MM + index, turn @ np.diag(semi_axes**-2.0) @ turn.T))
    return found


def contours_of(center: np.ndarray, matrix: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Slice number and vertices (LPS mm) where each slice cuts the ellipsoid."""
    in_plane, across = matrix[:2, :2], matrix[:2, 2]
    shift = -np.linalg.solve(in_plane, across)
    flat = matrix[2, 2] + across @ shift
    values, vectors = np.linalg.eigh(in_plane)
    found = []
    for k in range(SHAPE[0]):
        z = ORIGIN_MM[2] + k
        dz = z - center[2]
        left = 1 - flat * dz**2
        if left <= 0:
            continue
        a, b = np.sqrt(left / values)
        perimeter = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))
        t = np.linspace(0, 2 * np.pi, max(int(np.ceil(perimeter / VERTEX_STEP_MM)), 8), endpoint=False)
        xy = center[:2] + dz * shift + np.column_stack([a * np.cos(t), b * np.sin(t)]) @ vectors.T
        found.append((k, np.column_stack([xy, np.full(len(t), z)])))
    return found


def centers_inside(center: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index (z, y, x) of a box round the ellipsoid, and its voxels whose center lies inside."""
    reach = np.sqrt(np.diag(np.linalg.inv(matrix)))
    low = np.floor(center - ORIGIN_MM - reach).astype(int)
    size = np.ceil(2 * reach).astype(int) + 2
    offset = np.stack(np.meshgrid(*(np.arange(s) for s in size), indexing="ij"), axis=-1) + low + ORIGIN_MM - center
    inside = np.einsum("...i,ij,...j", offset, matrix, offset) <= 1
    return low[::-1], inside.transpose(2, 1, 0)


def polygon_area(xy: np.ndarray) -> float:
    x, y = (xy - xy.mean(axis=0)).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def write_study(folder: Path) -> None:
    """Write ``mr/*.dcm``, ``rs/RS.dcm`` and, for the scores, ``truth.npz`` beside them."""
    from pydicom.dataset import Dataset
    from pydicom.uid import MRImageStorage, RTStructureSetStorage, generate_uid

    from RTResponseCAMLib.dicom.files import decimal, new_file, save

    uids = {name: generate_uid() for name in ("study", "frame", "MR", "RTSTRUCT")}
    slices = [generate_uid() for _ in range(SHAPE[0])]

    def start(sop_class, uid, modality):
        data = new_file(sop_class, uid)
        data.SpecificCharacterSet, data.Modality, data.Manufacturer = "ISO_IR 192", modality, "synthetic"
        data.PatientName = data.PatientID = data.StudyID = "PEERS"
        data.PatientBirthDate, data.PatientSex, data.AccessionNumber, data.ReferringPhysicianName = "", "O", "", ""
        data.StudyInstanceUID, data.SeriesInstanceUID, data.SeriesNumber = uids["study"], uids[modality], 1
        data.SeriesDescription = f"peers {modality}"
        data.StudyDate = data.SeriesDate = data.ContentDate = "20240611"
        data.StudyTime = data.SeriesTime = data.ContentTime = "120000"
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = uids["frame"], ""
        return data

    def refer(sop_class, uid):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        return item

    for part in ("mr", "rs"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(1)
    y, x = np.indices(SHAPE[1:])
    for k, uid in enumerate(slices):
        data = start(MRImageStorage, uid, "MR")
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions, data.MRAcquisitionType = "GR", "MP", "", "3D"
        data.EchoTime, data.RepetitionTime, data.InstanceNumber = "3.2", "2100", k + 1
        data.ImagePositionPatient = [decimal(c) for c in np.add(ORIGIN_MM, (0, 0, k))]
        data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        data.PixelSpacing, data.SliceThickness = ["1", "1"], "1"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = SHAPE[1:]
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        smooth = 400 + 150 * np.sin(x / 37 + k / 20) * np.cos(y / 29)
        data.PixelData = (smooth + rng.normal(0, 25, smooth.shape)).astype("<i2").tobytes()
        save(data, folder / "mr" / f"MR.{k + 1:04d}.dcm")

    data = start(RTStructureSetStorage, generate_uid(), "RTSTRUCT")
    data.StructureSetLabel, data.StructureSetDate, data.StructureSetTime = "peers", "20240611", "120000"
    series, study, frame = Dataset(), refer("1.2.840.10008.3.1.2.3.1", uids["study"]), Dataset()
    series.SeriesInstanceUID = uids["MR"]
    series.ContourImageSequence = [refer(MRImageStorage, uid) for uid in slices]
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = uids["frame"], [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    truth = {"names": [], "volumes_mm3": [], "lows": []}
    for number, (name, center, matrix) in enumerate(ellipsoids(), start=1):
        roi, item, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = uids["frame"]
        item.ReferencedROINumber, item.ROIDisplayColor, item.ContourSequence = number, [255, 0, 0], []
        volume = 0.0
        for k, points in contours_of(center, matrix):
            texts = [decimal(c) for c in points.ravel()]
            volume += polygon_area(np.asarray(texts, dtype=float).reshape(-1, 3)[:, :2])
            contour = Dataset()
            contour.ContourImageSequence = [refer(MRImageStorage, slices[k])]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = texts
            item.ContourSequence.append(contour)
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(item)
        data.RTROIObservationsSequence.append(observation)
        low, truth[name] = centers_inside(center, matrix)
        for key, value in (("names", name), ("volumes_mm3", volume), ("lows", low)):
            truth[key].append(value)
    data.ApprovalStatus = "UNAPPROVED"
    save(data, folder / "rs" / "RS.dcm")
    np.savez(folder / "truth.npz", **truth)


# The readers: each yields (name of the ROI, array [z, y, x] or what fetches it off the clock), and works in between


def own(study: Path) -> Masks:
    from RTResponseCAMLib.imaging.fraction import mask

    yield from _own(study, mask)


def own_fraction(study: Path) -> Masks:
    from RTResponseCAMLib.imaging.fraction import fraction_inside

    yield from _own(study, fraction_inside)


def _own(study: Path, rasterize) -> Masks:
    from RTResponseCAMLib.dicom.index import index_folder
    from RTResponseCAMLib.dicom.mr import read_series
    from RTResponseCAMLib.dicom.rtstruct import read_structures
    from RTResponseCAMLib.imaging.grid import Grid

    index = index_folder(study)
    (entries,) = index.series.values()
    read = read_series(entries)  # earlier versions return the image alone, or with its warnings
    image = read[0] if isinstance(read, tuple) else getattr(read, "image", read)
    structures, _ = read_structures(index.structures[0].path)
    for structure in structures:
        yield structure.name, rasterize(structure, Grid.of(image))


def rt_utils(study: Path) -> Masks:
    from rt_utils import RTStructBuilder

    structures = RTStructBuilder.create_from(str(study / "mr"), str(study / "rs" / "RS.dcm"))
    for name in structures.get_roi_names():
        yield name, structures.get_roi_mask_by_name(name).transpose(2, 0, 1)


def platipy(study: Path) -> Masks:
    import SimpleITK as sitk
    from platipy.dicom.io import rtstruct_to_nifti as reader

    image = reader.read_dicom_image(study / "mr")
    data = reader.read_dicom_struct_file(study / "rs" / "RS.dcm")
    masks, names = reader.transform_point_set_from_dicom_struct(image, data)
    for name, mask in zip(names, masks, strict=True):
        yield name, sitk.GetArrayViewFromImage(mask)


def dicom_rt_tool(study: Path) -> Masks:
    import SimpleITK as sitk
    from DicomRTTool.ReaderWriter import DicomReaderWriter

    threads = int(os.environ["OMP_NUM_THREADS"])
    reader = DicomReaderWriter(verbose=False, mask_thread_count=threads)
    reader.walk_through_folders(str(study), thread_count=threads)
    reader.set_contour_names_and_associations(contour_names=reader.return_rois(print_rois=False))
    reader.get_images_and_mask()
    for name, mask in reader.mask_dictionary.items():
        yield name, sitk.GetArrayViewFromImage(mask)


def dcmrtstruct2nii(study: Path) -> Masks:
    # Its one public call writes a file per ROI; the same steps without the files are fairer to it.
    import SimpleITK as sitk
    from dcmrtstruct2nii.adapters.convert.rtstructcontour2mask import DcmPatientCoords2Mask
    from dcmrtstruct2nii.adapters.input.contours.rtstructinputadapter import RtStructInputAdapter
    from dcmrtstruct2nii.adapters.input.image.dcminputadapter import DcmInputAdapter

    structures = RtStructInputAdapter().ingest(str(study / "rs" / "RS.dcm"))
    image = DcmInputAdapter().ingest(str(study / "mr"))
    for structure in structures:
        mask = DcmPatientCoords2Mask().convert(structure["sequence"], image, 0, 1)
        yield structure["name"], sitk.GetArrayViewFromImage(mask)


def plastimatch(study: Path) -> Masks:
    """Run the command that pip puts beside Python; its files are read off the clock."""
    with tempfile.TemporaryDirectory() as folder:
        dicom, out = Path(folder) / "dicom", Path(folder) / "out"
        dicom.mkdir()
        for path in study.glob("*/*.dcm"):  # it does not look into subfolders
            (dicom / path.name).symlink_to(path.resolve())
        command = [Path(sys.executable).with_name("plastimatch"), "convert", "--input", dicom]
        command += ["--output-prefix", out, "--prefix-format", "mha"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for path in sorted(out.glob("*.mha")):
            yield path.stem, partial(read_mha, path)


def read_mha(path: Path) -> np.ndarray:
    """Read and remove a MetaImage of one file and bytes for voxels; no other library need be there."""
    header, _, body = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    path.unlink()
    values = dict(re.findall(r"^(\w+) = (.*?)\s*$", header.decode("ascii"), re.MULTILINE))
    if values["ElementType"] != "MET_UCHAR":
        raise ValueError(f"{path.name} holds {values['ElementType']}, expected MET_UCHAR")
    body = zlib.decompress(body) if values.get("CompressedData") == "True" else body
    return np.frombuffer(body, np.uint8).reshape([int(s) for s in values["DimSize"].split()][::-1])


PEERS = {
    "own": own,
    "own-occupancy": own_fraction,
    "rt-utils": rt_utils,
    "platipy": platipy,
    "DicomRTTool": dicom_rt_tool,
    "dcmrtstruct2nii": dcmrtstruct2nii,
    "plastimatch": plastimatch,
}
DISTRIBUTIONS = {"own": "RTResponseCAM", "own-occupancy": "RTResponseCAM"}
LABELS = {"own": "own, voxel centers", "own-occupancy": "own, occupancy"}


# One reader, in its own process


def run_once(name: str, study: Path, truth: dict) -> tuple[float, dict[str, tuple[float, float]]]:
    """Seconds of the reader's own work, and per ROI its volume (mm³) and Dice."""
    seconds, scores = 0.0, {}
    steps = PEERS[name](study)
    while True:
        start = time.perf_counter()
        step = next(steps, None)
        seconds += time.perf_counter() - start
        if step is None:
            return seconds, scores
        roi, voxels = step
        scores[roi] = score(voxels() if callable(voxels) else voxels, truth["boxes"][roi], truth[roi])
        del step, voxels  # else the next mask would be made while this one is still held


def score(voxels: np.ndarray, low: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    if voxels.shape != SHAPE:
        raise ValueError(f"the mask is {voxels.shape}, expected {SHAPE}")
    part = voxels[tuple(slice(a, a + n) for a, n in zip(low, inside.shape, strict=True))] >= 0.5
    if voxels.dtype.kind == "f":  # by planes, because a copy of the whole would count as the reader's memory
        volume = sum(float(plane.sum(dtype=np.float64)) for plane in voxels)
        count = sum(np.count_nonzero(plane >= 0.5) for plane in voxels)
    else:
        volume = count = np.count_nonzero(voxels)
    return volume, 2 * np.count_nonzero(part & inside) / (count + np.count_nonzero(inside))


def peak_mib(of_children: bool) -> float:
    status = Path("/proc/self/status")
    if status.exists() and not of_children:  # ru_maxrss would start at the peak of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_peer(name: str, study: Path, out: Path) -> None:
    truth = dict(np.load(study / "truth.npz"))
    truth["boxes"] = dict(zip(truth["names"], truth["lows"], strict=True))
    run_once(name, study, truth)
    peak = peak_mib(of_children=name == "plastimatch")
    gc.collect()
    seconds, scores = run_once(name, study, truth)
    try:
        version = importlib.metadata.version(DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        version = ""
    rows = np.array([scores.get(lesion, (np.nan, np.nan)) for lesion in truth["names"]])
    np.savez(out, seconds=seconds, peak_mib=peak, version=version, volumes_mm3=rows[:, 0], dice=rows[:, 1])


# All readers, one table


def row_of(name: str, python: str, study: Path, out: Path, threads: int, exact_mm3: np.ndarray) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}
    command = [python, str(Path(__file__).resolve()), "--run-peer", name, str(study), str(out)]
    label = LABELS.get(name, name)
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"| {label} | failed: {error} |"
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return f"| {label} | failed: {reason} |"
    result = np.load(out)
    errors = 100 * (result["volumes_mm3"] / exact_mm3 - 1)
    cells = [
        "missing" if np.isnan(error) else f"{error + 0.0:+.1f} / {dice:.3f}"
        for error, dice in zip(errors, result["dice"], strict=True)
    ]
    cells = [f"{label} {result['version']}".strip(), f"{result['seconds']:.2f}", f"{result['peak_mib']:.0f}", *cells]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(name for name in PEERS if name != "own-occupancy")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"one of {names}")
    parser.add_argument("--threads", type=int, default=2, help="for OpenMP and ITK")
    parser.add_argument("--against", choices=("contours", "body"), default="contours", help="whose volume is right")
    parser.add_argument("--run-peer", nargs=3, metavar=("NAME", "STUDY", "OUT.npz"), help="used by the script itself")
    options = parser.parse_args()
    if options.run_peer:
        run_peer(options.run_peer[0], Path(options.run_peer[1]), Path(options.run_peer[2]))
        return
    pairs = []
    for text in options.peer or [f"own={sys.executable}"]:
        name, _, python = text.partition("=")
        if name not in PEERS or not python:
            parser.error(f"--peer {text}: expected NAME=PYTHON with a NAME of {names}")
        pairs += [(n, python) for n in ((name, "own-occupancy") if name == "own" else (name,))]
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        write_study(study)
        exact = np.load(study / "truth.npz")["volumes_mm3"]
        exact = 1000 * np.asarray(VOLUMES_CC) if options.against == "body" else exact
        print(f"{options.threads} threads; cells: volume error in % against the {options.against} / Dice\n")
        print("| reader | time, s | peak, MiB | " + " | ".join(f"{v:g} cm³" for v in VOLUMES_CC) + " |")
        print("|---|" + "---:|" * (2 + len(VOLUMES_CC)))
        for name, python in pairs:
            print(row_of(name, python, study, Path(folder) / f"{name}.npz", options.threads, exact), flush=True)


if __name__ == "__main__":
    main()
