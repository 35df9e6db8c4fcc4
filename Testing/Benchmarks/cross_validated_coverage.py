"""Do intervals of cross-validated AUCs hold what they should, and how often is noise called a finding?

    python Testing/Benchmarks/cross_validated_coverage.py [--cohorts 60] [--seed 1000] [--workers 2]

Cohorts of 39 patients and 69 lesions with 40 features, some of a patient's own; one carries the signal. Each runs
through the logistic model as `evaluate` does: folds of patients, selection and calibration inside. What an interval
should hold is the mean AUC over the simulated cohorts: how well this model does with as many patients.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from RTResponseCAMLib.evaluation.metrics import PatientAuc, auc_interval, patient_weights, permutation_p
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.folds import patient_folds
from RTResponseCAMLib.models.logistic import LogisticModel
from RTResponseCAMLib.samples.sample import LesionSample

PATIENTS, LESIONS, FEATURES = 39, 69, 40
FOLDS, REPEATS = 5, 3
SIGNALS = (0.0, 0.8, 1.6)


def cohort(rng: np.random.Generator, signal: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    owner = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, LESIONS - PATIENTS)]))
    label = (rng.random(LESIONS) < 0.35).astype(int)
    table = rng.normal(size=(LESIONS, FEATURES)) + 0.8 * rng.normal(size=(PATIENTS, FEATURES))[owner]
    table[:, 7] += signal * label
    return table, label, np.asarray([f"p{n:03d}" for n in owner])


def samples_of(table: np.ndarray, label: np.ndarray, patient: np.ndarray) -> list[LesionSample]:
    return [
        LesionSample(None, features={"table": {f"f{n:03d}": x for n, x in enumerate(row)}}, patient=who, label=int(y))
        for row, y, who in zip(table, label, patient, strict=True)
    ]


def one(job: tuple[int, float]) -> tuple[float, float, float, float, float]:
    seed, signal = job
    table, label, patient = cohort(np.random.default_rng([seed, int(100 * signal)]), signal)
    score = np.zeros((REPEATS, len(label)))
    place = np.zeros((REPEATS, len(label)), dtype=int)
    for number, fold in enumerate(
        patient_folds(label.tolist(), patient.tolist(), folds=FOLDS, repeats=REPEATS, seed=seed)
    ):
        train, test = (samples_of(table[p], label[p], patient[p]) for p in (fold.train, fold.test))
        fitted = Calibrated(LogisticModel(("table",))).fit(train, seed=seed)
        score[fold.repeat, fold.test] = [1 - prediction.p_response for prediction in fitted.predict(test)]
        place[fold.repeat, fold.test] = number
    what = label.tolist(), score, patient.tolist(), place
    given = {"patients": patient.tolist(), "folds": place}
    found = auc_interval(label.tolist(), score, **given)
    pairs = PatientAuc(*what)
    plain = np.nanpercentile(pairs.of(patient_weights(len(pairs.names))), [2.5, 97.5])
    return (
        found.value,
        found.low,
        found.high,
        permutation_p(label.tolist(), score, **given, repeats=400),
        float(np.diff(plain)[0]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| signal | mean AUC | SD | holds the mean | mean width | width without fitting | p < 0.05 |")
    print("|---|---|---|---|---|---|---|")
    for signal in SIGNALS:
        jobs = [(options.seed + n, signal) for n in range(options.cohorts)]
        with ProcessPoolExecutor(options.workers) as pool:
            auc, low, high, p, plain = np.asarray(list(pool.map(one, jobs))).T
        mean = auc.mean()
        share = 100 * np.mean((low <= mean) & (mean <= high))
        print(
            f"| {signal:g} | {mean:.3f} | {auc.std(ddof=1):.3f} | {share:.1f} % | {np.mean(high - low):.3f} | "
            f"{plain.mean():.3f} | {100 * np.mean(p < 0.05):.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
