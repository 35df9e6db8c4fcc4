"""Ten thousand damaged files against the readers: tracebacks, hangs, crashes, memory, files written elsewhere.

    python Testing/Benchmarks/hostile_input.py --count 10000 --seed 1 [--samples FOLDER] [--workers 2]

Every input is drawn from the seed and its number, so that one can be repeated alone (``--first N --count 1``).
Readers run in processes that are watched: one that dies, or that needs over 10 s for an input, is counted and
started anew. The memory of an input is the growth of its process's peak above what it held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "Python"))

LIMIT_S, LIMIT_MB = 10.0, 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    from hostile import corpus

    with tempfile.TemporaryDirectory() as place:
        objects = corpus(Path(place), options.samples)
        numbers = range(options.first, options.first + options.count)
        chunks = [list(numbers[n :: options.workers]) for n in range(options.workers)]
        started = time.time()
        watchers = [Watched(objects, options.seed, chunk, Path(place) / f"w{n}") for n, chunk in enumerate(chunks)]
        while any(not watcher.finished for watcher in watchers):
            for watcher in watchers:
                watcher.look()
            time.sleep(0.02)
        outcomes: Counter[str] = sum((w.outcomes for w in watchers), Counter())
        kinds: Counter[str] = sum((w.kinds for w in watchers), Counter())
        for watcher in watchers:
            for line in watcher.findings:
                print(line)
    print(f"{options.count} inputs from {len(objects)} objects, seed {options.seed}, {time.time() - started:.0f} s")
    print("by reader:", dict(sorted(kinds.items())))
    print("outcomes:", dict(sorted(outcomes.items())))
    print(
        f"largest growth {max(w.growth_mb for w in watchers):.0f} MB, slowest {max(w.slowest for w in watchers):.2f} s"
    )
    sys.exit(1 if set(outcomes) - {"read", "refused"} else 0)


class Watched:
    """A worker process, what it is at, and what came of its inputs."""

    def __init__(self, objects: list[tuple[str, bytes, str]], seed: int, numbers: list[int], place: Path) -> None:
        self.objects, self.seed, self.left, self.place = objects, seed, numbers, place
        self.outcomes: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.findings: list[str] = []
        self.growth_mb = self.slowest = 0.0
        self.current, self.since = -1, time.time()
        self.finished = not numbers
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        arguments = (theirs, self.objects, self.seed, list(self.left), self.place)
        self.process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
        self.process.start()
        self.since = time.time() + 60  # imports take a while

    def look(self) -> None:
        """Take reports; notice a worker that died or hangs."""
        if self.finished:
            return
        while True:
            try:
                if not self.pipe.poll():
                    break
                self._report(self.pipe.recv())
            except (EOFError, OSError):
                break
        if not self.left:
            self.finished = True
            self.process.join(5)
        elif not self.process.is_alive():
            self._lost("crash")
        elif time.time() - self.since > LIMIT_S:
            self.process.kill()
            self.process.join()
            self._lost("hang")

    def _report(self, message: tuple) -> None:
        word, number, *rest = message
        if word == "begin":
            self.current, self.since = number, time.time()
            return
        outcome, kind, growth, seconds, text = rest
        self.left.remove(number)
        self.outcomes[outcome] += 1
        self.kinds[kind] += 1
        self.growth_mb, self.slowest = max(self.growth_mb, growth), max(self.slowest, seconds)
        if text:
            self.findings.append(f"--- input {number} ({kind}): {outcome}\n{text}")

    def _lost(self, word: str) -> None:
        self.findings.append(f"--- input {self.current}: {word}")
        self.outcomes[word] += 1
        if self.current in self.left:
            self.left.remove(self.current)
        if self.left:
            self._start()
        else:
            self.finished = True


def work(pipe, objects: list[tuple[str, bytes, str]], seed: int, numbers: list[int], place: Path) -> None:
    import warnings

    from hostile import read, spoil

    from RTResponseCAMLib.errors import RTResponseError

    warnings.simplefilter("ignore")
    sys.stderr = open("/dev/null", "w")  # noqa: SIM115 - codecs write their complaints there
    place.mkdir(exist_ok=True)
    for number in numbers:
        pipe.send(("begin", number))
        rng = np.random.default_rng([seed, number])
        kind, content, name = objects[int(rng.integers(len(objects)))]
        folder = place / str(number)
        folder.mkdir()
        path = folder / name
        path.write_bytes(spoil(content, rng))
        before, started, text = _reset_peak(), time.time(), ""
        try:
            outcome = read(kind, path)
        except RTResponseError as error:
            outcome, text = "traceback", repr(error)
        except BaseException:
            outcome, text = "traceback", traceback.format_exc(limit=-6)
        growth = _peak_mb() - before
        if growth > LIMIT_MB:
            outcome, text = "memory", f"{growth:.0f} MB"
        if {p.name for p in folder.iterdir()} != {name}:
            outcome, text = "wrote", str(list(folder.iterdir()))
        pipe.send(("end", number, outcome, kind, growth, time.time() - started, text))
        path.unlink()
        folder.rmdir()


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
