"""Stubs of TRIPOD+AI, METRICS and CLEAR, filled as far as a run's own configuration can fill them.

Topics are paraphrased; the authors' wording is in BMJ 2024;385:e078378 (TRIPOD+AI), Insights Imaging 2024;15:8
(METRICS) and Insights Imaging 2023;14:75 (CLEAR).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

ITEMS = Path(__file__).with_name("checklists.json")


def filled_checklists(content: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Items with ``item``, ``topic``, ``status`` ("filled" or "open") and ``answer``, by the checklist's name."""
    facts = {**_facts(content), **_of_arms(content)}
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
    """The answer with this run's facts; None where one of them is not known of this run."""
    if text is None or any(name and facts[name] is None for _, name, _, _ in Formatter().parse(text)):
        return None
    return text.format_map(facts)


def _of_arms(content: Mapping[str, Any]) -> dict[str, str | None]:
    """Sentences that hold only for the approaches that were run; None where none of these was."""
    arms = content["internal"]["arms"].values()
    families = {family for arm in arms for family in arm["families"]}
    network = any(not arm["families"] for arm in arms)
    schedule, architecture = content["protocol"]["schedule"], content["protocol"]["architecture"]
    radiomics = bool(families & {"radiomics", "dosiomics", "delta"})
    settings = content["protocol"]["settings"].get("mr", {})
    types = ", ".join(settings.get("imageType", {}))
    classes = ", ".join(settings.get("featureClass", {})) or "all of pyradiomics"
    predictors = [
        (radiomics, f"pyradiomics {content['libraries']['pyradiomics']} with the settings stored in run.json"),
        ("gradient" in families, "image gradients: 90 features as documented in features/gradient.py"),
        (network, "network: map by voxel evidence"),
        ("volume" in families, "volume"),
        ("clinical" in families, "the manifest's clinical columns, prescription, fractions, number of lesions"),
    ]
    doses = any("dosiomics" in arm["families"] or arm["dose"] for arm in arms)
    heads = architecture["members"] + (architecture["code_members"] if architecture["autoencoder"] else 0)
    return {
        "approaches": ", ".join(arm["title"] for arm in content["internal"]["arms"].values()),
        "predictors": "; ".join(text for there, text in predictors if there) + ".",
        "network": " Network: fixed scale-space stem less what is usual at a voxel's depth, linear autoencoder "
        f"(code of {architecture['code']}), {heads} evidence heads, {schedule['steps']} steps, "
        f"weight decay {schedule['weight_decay']}; calibration and threshold by inner patient folds."
        if network
        else "",
        "short_network": f" Network: the autoencoder's code of {architecture['code']}." if network else "",
        "bootstraps": " Patient bootstraps in the network." if network else "",
        "robust": "Ensemble on patient bootstraps; repeats with other folds and seeds." if network else None,
        "parametric": "Approaches with and without dose are compared." if doses else None,
        "discretisation": "As in run.json." if radiomics else None,
        "image_types": f"pyradiomics: {types}." if radiomics else None,
        "classes": f"pyradiomics: {classes}." if radiomics else None,
        "interpretability": "Held-out maps of voxel evidence that add up to the prediction." if network else None,
    }


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    protocol, cohort, found = content["protocol"], content["cohort"], content["internal"]
    outside = content["external"]
    return {
        "folds": protocol["folds"],
        "repeats": protocol["repeats"],
        "seed": protocol["seed"],
        "external": f"External cohort: {outside['lesions']} lesions of {outside['patients']} other patients."
        if outside
        else "No external cohort.",
        "sources": "; ".join(cohort["label_sources"]),
        "days": cohort["follow_up_days"],
        "indeterminate": cohort["indeterminate"],
        "policy": "judged as labelled"
        if protocol["indeterminate"] == "as-labelled"
        else "not judged; they teach the autoencoder alone",
        "left_out": len(cohort["left_out"]),
        "not_run": ", ".join(content["not_run"]) or "none",
        "lesions": found["lesions"],
        "patients": found["patients"],
        "bad": found["non_response"],
        "program": content["program"],
        "command": content["command"],
        "measured": cohort["measured"],
        "rows": cohort["rows"],
        "volumes": ", ".join(f"{v:g}" for v in cohort["volume_cc"]),
        "aucs": "; ".join(
            f"{arm['title']} {arm['metrics']['auc']['value']:.3f} "
            f"({arm['metrics']['auc']['low']:.3f} to {arm['metrics']['auc']['high']:.3f})"
            for arm in found["arms"].values()
        ),
    }
