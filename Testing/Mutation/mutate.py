"""Mutation testing with cosmic-ray: change one token of a module, and see whether the module's own tests notice.

    make mutation [MODULES="dosimetry/dvh response/volume"] [SAMPLE=20]
    python Testing/Mutation/mutate.py [MODULE …] [--sample 20] [--seed 1] [--out mutation]

Every module of ``modules.toml`` names its tests. A random sample of its mutants is run (``--sample 0``: all of them) in
a copy of the tracked files below ``--out``; what was run is kept there, and a second call goes on. Mutants of type
annotations are left out, nobody evaluates them, and so are those of ``@dataclass(frozen=True)``. Printed are the share
that was caught and the survivors; those that change nothing are listed in ``equivalent.toml`` with the reason, and do
not count.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import tomllib

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT_S = 120
GUARDS = ("@dataclass",)  # lines that protect from changes later on: no value depends on them


def annotation_ranges(source: str) -> list[tuple[int, int, int, int]]:
    """Where type annotations lie: first line and column, last line and column."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                found.append((part.lineno, part.col_offset, part.end_lineno, part.end_col_offset))
    return found


def copy_tree(out: Path) -> Path:
    """The tracked files as they are now, in a folder of their own."""
    tree = out / "tree"
    if tree.is_dir():
        shutil.rmtree(tree)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def begin(module: str, tests: list[str], *, tree: Path, session: Path, sample: int, seed: int) -> Path:
    """Write the configuration; choose the mutants unless that was done before."""
    path = f"RTResponseCAMLib/{module}.py"
    named = " ".join(f"Testing/Python/{test}" for test in tests)
    config = session.with_suffix(".toml")
    config.write_text(
        f'[cosmic-ray]\nmodule-path = "{path}"\ntimeout = {TIMEOUT_S}.0\nexcluded-modules = []\n'
        f"test-command = '{sys.executable} -m pytest -x -q -p no:cacheprovider -m \"not slow\" {named}'\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    if not session.is_file():
        subprocess.run([sys.executable, "-m", "cosmic_ray.cli", "init", config, session], cwd=tree, check=True)
        source = (tree / path).read_text()
        ranges = annotation_ranges(source)
        guards = {n for n, line in enumerate(source.splitlines(), start=1) if line.strip().startswith(GUARDS)}
        with sqlite3.connect(session) as db:
            rows = db.execute(
                "select job_id, start_pos_row, start_pos_col from mutation_specs "
                "order by start_pos_row, start_pos_col, operator_name, occurrence"
            ).fetchall()
            kept_out = [(j, r, c) for j, r, c in rows if r not in guards]
            real = [j for j, r, c in kept_out if not any((a, b) <= (r, c) < (d, e) for a, b, d, e in ranges)]
            kept = set(random.Random(f"{seed}{module}").sample(real, min(sample or len(real), len(real))))
            for job, _, _ in rows:
                if job not in kept:
                    db.execute("delete from mutation_specs where job_id = ?", (job,))
                    db.execute("delete from work_items where job_id = ?", (job,))
    return config


def report(module: str, session: Path) -> tuple[int, int]:
    """Print what survived; returns how many were caught, of how many that change something."""
    known = tomllib.loads((HERE / "equivalent.toml").read_text()).get(module, {})
    caught = total = 0
    with sqlite3.connect(session) as db:
        rows = db.execute(
            "select m.operator_name, m.start_pos_row, r.test_outcome, r.diff from mutation_specs m "
            "join work_results r on m.job_id = r.job_id order by m.start_pos_row"
        ).fetchall()
    for operator, row, outcome, diff in rows:
        changed = [line[1:].strip() for line in (diff or "").splitlines() if line.startswith("+") and line[1:2] != "+"]
        line = changed[0] if changed else ""
        if "SURVIVED" not in str(outcome).upper():
            caught, total = caught + 1, total + 1
        elif line in known:
            print(f"  equivalent, line {row}: {line}\n      {known[line]}")
        else:
            total += 1
            print(f"  SURVIVED, line {row} ({operator.rpartition('/')[2]}): {line}")
    return caught, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = tomllib.loads((HERE / "modules.toml").read_text())["modules"]
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "mutation")
    options = parser.parse_args()
    unknown = set(options.modules) - set(known)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not in modules.toml")
    options.out.mkdir(parents=True, exist_ok=True)
    tree = copy_tree(options.out.resolve())
    sums = {}
    for module in options.modules or known:
        session = options.out.resolve() / f"{module.replace('/', '.')}.sqlite"
        config = begin(module, known[module], tree=tree, session=session, sample=options.sample, seed=options.seed)
        subprocess.run([sys.executable, "-m", "cosmic_ray.cli", "exec", config, session], cwd=tree, check=True)
        print(module)
        sums[module] = report(module, session)
        caught, total = sums[module]
        print(f"  caught {caught} of {total}", flush=True)
    caught, total = (sum(column) for column in zip(*sums.values(), strict=True))
    print(f"all: caught {caught} of {total} ({100 * caught / max(total, 1):.1f} %)")


if __name__ == "__main__":
    main()
