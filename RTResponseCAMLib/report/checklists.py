"""Checklists TRIPOD+AI, METRICS and CLEAR, filled as far as possible from the configuration of a run.

Topics are paraphrased; the authors' wording is in BMJ 2024;385:e078378 (TRIPOD+AI), Insights Imaging 2024;15:8
(METRICS) and Insights Imaging 2023;14:75 (CLEAR).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from RTResponseCAMLib.evaluation.results import Comparison, Figure
from RTResponseCAMLib.samples.build import PYRADIOMICS

ITEMS = Path(__file__).with_name("checklists.json")


def filled_checklists(comparison: Comparison) -> dict[str, list[dict[str, str]]]:
    """Return items with ``item``, ``topic``, ``status`` ("filled" or "open") and ``answer``, by checklist name."""
    facts = {**_facts(comparison), **_of_approaches(comparison)}
    lists = json.loads(ITEMS.read_text(encoding="utf-8"))
    return {
        name: [
            {
                "item": entry["item"],
                "topic": entry["topic"],
                "status": "open" if answer is None else "filled",
                "answer": "for the authors" if answer is None else answer,
            }
            for entry in items
            for answer in [_answer(entry["answer"], facts)]
        ]
        for name, items in lists.items()
    }


def _answer(text: str | None, facts: Mapping[str, Any]) -> str | None:
    """Return the answer with the facts of this run; None if a required fact is unknown."""
    if text is None or any(name and facts[name] is None for _, name, _, _ in Formatter().parse(text)):
        return None
    return text.format_map(facts)


def _of_approaches(comparison: Comparison) -> dict[str, str | None]:
    """Return sentences that depend on the approaches of the run; None where no approach matches."""
    approaches = comparison.internal.approaches.values()
    families = {family for approach in approaches for family in approach.families}
    explaining = [approach for approach in approaches if approach.explains]
    descriptions = list(dict.fromkeys(approach.description for approach in approaches if approach.description))
    extracted = bool(families & set(PYRADIOMICS))
    settings = comparison.protocol["settings"].get("mr", {})
    types = ", ".join(settings.get("imageType", {}))
    classes = ", ".join(settings.get("featureClass", {})) or "all of pyradiomics"
    doses = any(approach.dose for approach in approaches)
    return {
        "approaches": ", ".join(approach.title for approach in approaches),
        "predictors": "; ".join(dict.fromkeys(a.predictors for a in approaches if a.predictors))
        + (f" (pyradiomics {comparison.libraries['pyradiomics']})" if extracted else "")
        + ".",
        "described": "".join(f" {text}" for text in descriptions),
        "robust": "Repeats with other folds and seeds." if comparison.protocol["repeats"] > 1 else None,
        "parametric": "Approaches with and without dose are compared." if doses else None,
        "discretization": "As in run.json." if extracted else None,
        "image_types": f"pyradiomics: {types}." if extracted else None,
        "classes": f"pyradiomics: {classes}." if extracted else None,
        "interpretability": "Held-out evidence maps that add up to the prediction." if explaining else None,
    }


def _facts(comparison: Comparison) -> dict[str, Any]:
    protocol, cohort, internal = comparison.protocol, comparison.cohort, comparison.internal
    external = comparison.external
    return {
        "folds": protocol["folds"],
        "repeats": protocol["repeats"],
        "seed": protocol["seed"],
        "external": f"External cohort: {external.lesions} lesions of {external.patients} other patients."
        if external
        else "No external cohort.",
        "sources": "; ".join(cohort.label_sources),
        "days": cohort.follow_up_days,
        "indeterminate": cohort.indeterminate,
        "policy": "evaluated as labeled"
        if protocol["indeterminate"] == "as-labeled"
        else "not evaluated; used only for training steps that need no label",
        "left_out": len(cohort.left_out),
        "not_run": ", ".join(comparison.not_run) or "none",
        "lesions": internal.lesions,
        "patients": internal.patients,
        "bad": internal.non_response,
        "program": comparison.program,
        "command": comparison.command,
        "measured": cohort.sampled,
        "rows": cohort.rows,
        "volumes": ", ".join(f"{v:g}" for v in cohort.volume_cc) if cohort.volume_cc else None,
        "aucs": "; ".join(f"{a.title} {_with_interval(a.metrics['auc'])}" for a in internal.approaches.values()),
    }


def _with_interval(figure: Figure) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return "–"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
