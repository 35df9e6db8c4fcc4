"""Stubs of TRIPOD+AI, METRICS and CLEAR, filled as far as a run's own configuration can fill them.

Topics are paraphrased; the authors' wording is in BMJ 2024;385:e078378 (TRIPOD+AI), Insights Imaging 2024;15:8
(METRICS) and Insights Imaging 2023;14:75 (CLEAR).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ITEMS = Path(__file__).with_name("checklists.json")


def filled_checklists(content: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Items with ``item``, ``topic``, ``status`` ("filled" or "open") and ``answer``, by the checklist's name."""
    facts = _facts(content)
    lists = json.loads(ITEMS.read_text(encoding="utf-8"))
    return {
        name: [
            {
                "item": entry["item"],
                "topic": entry["topic"],
                "status": "open" if entry["answer"] is None else "filled",
                "answer": "for the authors" if entry["answer"] is None else entry["answer"].format_map(facts),
            }
            for entry in items
        ]
        for name, items in lists.items()
    }


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    protocol, cohort, found = content["protocol"], content["cohort"], content["internal"]
    schedule, architecture = protocol["schedule"], protocol["architecture"]
    outside = content["external"]
    return {
        "folds": protocol["folds"],
        "repeats": protocol["repeats"],
        "seed": protocol["seed"],
        "external": f"External cohort: {outside['lesions']} lesions of {outside['patients']} other patients."
        if outside
        else "No external cohort.",
        "code": architecture["code"],
        "heads": architecture["members"] * (2 if architecture["autoencoder"] else 1),
        "steps": schedule["steps"],
        "decay": schedule["weight_decay"],
        "sources": "; ".join(cohort["label_sources"]),
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
