"""``predict``: probability of response and evidence map for each lesion of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, ModelOptions, OutOptions, StudyOptions
from RTResponseCAMLib.cli.tables import number, print_table
from RTResponseCAMLib.progress import Progress, subprogress
from RTResponseCAMLib.warnings import by_severity


def predict(
    model: ModelOptions,
    study: StudyOptions,
    out: OutOptions,
    *,
    no_scene: Annotated[bool, Option("--no-scene", help="write no scene.mrb")] = False,
    pictures: Annotated[bool, Option("--pictures", help="also write Slicer's slice views as PNG")] = False,
    profile: Annotated[bool, Option("--profile", help="report the time per stage, seconds")] = False,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Predict probability of response and evidence map for each lesion of a study."""
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import Stages, predict_study
    from RTResponseCAMLib.workflow.write import result_json, write_result, write_scene

    check_free(out.out, out.overwrite)
    stages = Stages()
    stages.begin("load model")
    bundle = load_bundle(model.model or default_bundle(), model.device.value)
    stages.begin("read study")
    loaded = study.load(subprogress(progress, 0.0, 0.3))
    result = predict_study(loaded, bundle, progress=subprogress(progress, 0.3, 0.5), stages=stages)
    write_result(
        result,
        out.out,
        overwrite=out.overwrite,
        scene=None if no_scene else write_scene,
        pictures=pictures,
        progress=subprogress(progress, 0.5, 1.0),
        stages=stages,
    )
    close(progress)
    if json_:
        content = result_json(result)
        if profile:
            content["seconds"] = stages.seconds
        print(json.dumps(content, indent=2))
        return
    _print(result.predictions)
    for warning in by_severity(result.warnings):
        print(f"! {warning.labeled()}")
    print(f"written: {out.out}")
    if profile:
        print("\n".join(f"{name:<18} {seconds:7.2f} s" for name, seconds in stages.seconds.items()))


def _print(predictions: Sequence[Any]) -> None:
    rows = [
        [
            f"{p.lesion.id} {p.lesion.structure.name}",
            p.label,
            number(p.volume_cc, 3),
            p.p_text,
        ]
        for p in predictions
    ]
    print_table(["lesion", "class", "cm³", "p(response)"], rows, numbers_from=2)
    for threshold in sorted({p.class_threshold for p in predictions}):
        print(f"class: response where p(response) is at least {threshold:.2f}, else non-response;")
        print(f"indeterminate where its interval contains {threshold:.2f}, or for a reason among the warnings")
    for p in predictions:
        for warning in by_severity(p.warnings):
            print(f"{p.lesion.id} ! {warning.labeled()}")


COMMANDS = (Command("predict", "predict probability of response and evidence map for each lesion of a study", predict),)
