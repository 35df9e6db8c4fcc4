"""Public functions for scripts and notebooks: load a study, predict, follow up; train and compare models on a cohort.

Import them from the package, which loads this module at first use:
``from RTResponseCAMLib import load_study, predict``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RTResponseCAMLib.progress import Progress, no_progress, subprogress

if TYPE_CHECKING:
    from RTResponseCAMLib.evaluation.results import Comparison
    from RTResponseCAMLib.study import Result, Study
    from RTResponseCAMLib.workflow.follow_up import FollowedStudy


def load_study(folder: str | Path, *, progress: Progress = no_progress, **options: Any) -> Study:
    """Read a Gamma Knife study from the folder of its DICOM export, in any order and nesting.

    Parameters
    ----------
    options : fields of `dicom.options.ReadOptions`, such as ``prescription_gy``.

    Returns
    -------
    Images in LPS (mm); lesions with their contours in LPS (mm); dose in Gy.

    Raises
    ------
    StudyError, GeometryError : the study cannot be read, or its objects are inconsistent.

    Examples
    --------
    >>> study = load_study(folder)
    >>> [lesion.structure.name for lesion in study.lesions]
    ['GTV 1', 'GTV 2', 'GTV 3']
    """
    from RTResponseCAMLib.dicom.load import load_study as load

    return load(Path(folder), progress=progress, **options)


def predict(
    study: str | Path | Study,
    out: str | Path | None = None,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Result:
    """Predict the response of every lesion of a study, with an evidence map.

    Parameters
    ----------
    study : a study, or its folder.
    out : folder for ``result.json``, ``cam.nrrd`` and ``report.html``; None writes nothing.
    model : folder of a bundle; None uses the included bundle, which was trained on phantoms only.
    device : "auto", "cpu" or "cuda".

    Raises
    ------
    StudyError, GeometryError, ModelError : the study or the model cannot be used.
    OutputError : ``out`` exists, or cannot be written.

    Examples
    --------
    >>> result = predict(study, device="cpu")
    >>> [prediction.label for prediction in result.predictions]
    ['non-response', 'non-response', 'response']
    >>> lesion = result.predictions[0]
    >>> lesion.p_response_low <= lesion.p_response <= lesion.p_response_high
    True
    """
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.workflow.output import check_free, keep_inputs
    from RTResponseCAMLib.workflow.predict import predict_study
    from RTResponseCAMLib.workflow.write import write_result

    if out is not None:
        check_free(Path(out), overwrite)
        if isinstance(study, (str, Path)):
            keep_inputs(Path(out), [Path(study)])
    bundle = load_bundle(Path(model) if model is not None else default_bundle(), device)
    loaded = load_study(study, progress=subprogress(progress, 0.0, 0.3)) if isinstance(study, (str, Path)) else study
    result = predict_study(loaded, bundle, progress=subprogress(progress, 0.3, 0.8))
    if out is not None:
        write_result(result, Path(out), overwrite=overwrite, progress=subprogress(progress, 0.8, 1.0))
    return result


def follow_up(study: str | Path | Study, *, progress: Progress = no_progress, **options: Any) -> FollowedStudy:
    """Register the follow-ups of a study and measure its lesions on each of them.

    Parameters
    ----------
    study : a study, or its folder.
    options : arguments of `workflow.follow_up.follow_study`, such as ``boundary_mm``.

    Raises
    ------
    StudyError, GeometryError : the study or a follow-up cannot be used.
    """
    from RTResponseCAMLib.workflow.follow_up import follow_study

    loaded = study
    if isinstance(study, (str, Path)):
        loaded = load_study(study, progress=subprogress(progress, 0.0, 0.2), with_dose=False)
    assert not isinstance(loaded, (str, Path))
    return follow_study(loaded, progress=subprogress(progress, 0.2, 1.0), **options)


def train(
    cohort: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train a model on a cohort, write a bundle, and return the held-out metrics that are stored in its card.

    Parameters
    ----------
    cohort : folder with ``manifest.csv``.
    out : folder of the bundle.
    model : name of a model of `models.registry`; None uses the first that gives evidence maps.
    options : options of the model, by name.
    card : entries of the card: name, description, cohort, warnings.

    Raises
    ------
    CohortError, ModelError : the cohort or the options cannot be used.

    Examples
    --------
    >>> metrics = train(cohort, out / "bundle", options={"steps": 10, "members": 2})
    >>> metrics["lesions"], metrics["patients"]
    (18, 6)
    >>> 0 <= metrics["auc"]["low"] <= metrics["auc"]["value"] <= metrics["auc"]["high"] <= 1
    True
    """
    from RTResponseCAMLib.models.registry import default_name
    from RTResponseCAMLib.workflow.output import keep_inputs
    from RTResponseCAMLib.workflow.train import train_bundle

    if overwrite:
        keep_inputs(Path(out), [Path(cohort)])
    entries = {"name": "unnamed model", "intended_use": "Research use only. Not a medical device.", **(card or {})}
    return train_bundle(
        Path(cohort), Path(out), name=model or default_name(), options=options or {}, card=entries, overwrite=overwrite,
        progress=progress,
    )  # fmt: skip


def evaluate(
    cohort: str | Path,
    out: str | Path,
    *,
    models: Sequence[str] | None = None,
    tables: Mapping[str, str | Path] | None = None,
    external: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare models on a cohort without data leakage between patients; resume an interrupted comparison.

    Parameters
    ----------
    models : names of models of `models.registry`; None uses all that are compared by default. The baselines always run.
    tables : CSV files of features, by name; each is evaluated as an additional model.
    external : a cohort of other patients, on which every model is also evaluated.

    Raises
    ------
    CohortError, OutputError : see `workflow.evaluate.evaluate`.

    Examples
    --------
    >>> comparison = evaluate(cohort, out / "comparison", models=["gradient"], folds=2, repeats=1)
    >>> sorted(comparison.internal.approaches)
    ['clinical', 'gradient', 'volume']
    >>> comparison.internal.lesions, comparison.internal.patients
    (18, 6)
    """
    from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models, default_models
    from RTResponseCAMLib.samples.radiomics import read_settings
    from RTResponseCAMLib.workflow.evaluate import evaluate as compare
    from RTResponseCAMLib.workflow.output import keep_inputs

    table_paths = {name: Path(path) for name, path in (tables or {}).items()}
    if overwrite:
        keep_inputs(Path(out), [Path(p) for p in (cohort, external, *table_paths.values()) if p is not None])
    protocol = Protocol(
        models=chosen_models(default_models() if models is None else models, tuple(table_paths)),
        tables=tuple(table_paths),
        folds=folds,
        repeats=repeats,
        seed=seed,
        options=options or {},
        settings=read_settings(),
    )
    return compare(
        Path(cohort), Path(out), protocol=protocol, external=None if external is None else Path(external),
        tables=table_paths, workers=workers, overwrite=overwrite, progress=progress,
    )  # fmt: skip
