#!/usr/bin/env python
r"""Tries `frozenseg label` as docs/label.md reports it, on copies of some images; prints figures.

    python tools/label_trials.py throughput --images data/miniature/val --copies 10
    python tools/label_trials.py kills --images data/miniature/val --count 20 --fake
    python tools/label_trials.py faults --images data/miniature/val  # mounts a small tmpfs: as root
    python tools/label_trials.py memory --count 20000
    python tools/label_trials.py overhead --count 20000
    python tools/label_trials.py simulation

Linux; processes are watched through /proc. All work is below --work, which is emptied first.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WORDS = "red heart; purple heart; yellow cross; blue star; green square; water:stuff; sand:stuff"
RAY = ("--engine", "ray", "--workers", "2")


def main() -> None:
    """Runs the trial that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trial", choices=sorted(TRIALS))
    parser.add_argument("--images", type=Path, help="a folder")
    parser.add_argument("--copies", type=int, default=1, help="of every image, under new names")
    parser.add_argument("--count", type=int, default=20, help="kills, or images that are made")
    parser.add_argument("--work", type=Path, default=Path("output/label_trials"))
    parser.add_argument("--fake", action="store_true", help="kills: without a model")
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trial != "job":
        shutil.rmtree(args.work, ignore_errors=True)
        args.work.mkdir(parents=True)
    TRIALS[args.trial](args)


def command(images: Path, output: Path, *more: str) -> list[str]:
    """`frozenseg label` on the CPU."""
    words = ("--words", WORDS, "--device", "cpu", *more)
    return [
        sys.executable,
        "-m",
        "frozenseg",
        "label",
        str(images),
        "--output",
        str(output),
        *words,
    ]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A process whose output goes to a file."""
    environment = os.environ | {"RAY_AUTH_MODE": "token"}  # of the cluster that is started here
    return subprocess.Popen(
        words, stdout=log.open("ab"), stderr=subprocess.STDOUT, cwd=ROOT, env=environment
    )


def copies(args: argparse.Namespace) -> Path:
    """A folder with every image under --copies names."""
    folder: Path = args.work / "images"
    folder.mkdir()
    for number, path in itertools.product(range(args.copies), sorted(args.images.iterdir())):
        shutil.copy(path, folder / f"{number:03d}_{path.name}")
    return folder


def rows_of(output: Path) -> Any:
    """All rows, in the order of images and segments, without the folder's name."""
    import pyarrow.parquet as pq

    table = pq.read_table(output / "parts", partitioning=None)
    return table.sort_by([("image_id", "ascending"), ("segment_id", "ascending")]).to_pylist()


def throughput(args: argparse.Namespace) -> None:
    """One process against Ray with two workers: wall, processor seconds, equal rows."""
    images = copies(args)
    count, outputs = len(list(images.iterdir())), []
    for name, more in (("local", ()), ("ray, 2 workers", RAY)):
        outputs.append(args.work / name.split(",")[0])
        begin = time.monotonic()
        process = start(command(images, outputs[-1], *more), args.work / "log.txt")
        seconds = processor_seconds(process)
        wall = time.monotonic() - begin
        print(
            f"{name}: exit code {process.returncode}, {count} images, {wall:.0f} s, "
            f"{count / wall:.2f} images per second, {seconds / count:.3f} processor seconds each",
            flush=True,
        )
    one, other = map(rows_of, outputs)
    print(f"{len(one)} rows, {'equal' if one == other else 'NOT equal'}")


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Waits for a process; the processor seconds of it and of all that it started."""
    spent: dict[int, float] = {}
    while process.poll() is None:
        for each in family(process):
            with suppress(psutil().Error):
                spent[each.pid] = sum(each.cpu_times()[:2])
        time.sleep(0.5)
    return sum(spent.values())


def family(process: subprocess.Popen[bytes]) -> list[Any]:
    """The process and all that it started, as psutil has them."""
    with suppress(psutil().Error):
        root = psutil().Process(process.pid)
        return [root, *root.children(recursive=True)]
    return []


def psutil() -> Any:
    """The psutil that Ray brings."""
    import_module("ray")
    return import_module("psutil")


def kills(args: argparse.Namespace) -> None:
    """Kills workers, drivers and the node of a Ray cluster at random; the same command goes on."""
    import pyarrow.parquet as pq

    images, output, whole = copies(args), args.work / "out", args.work / "whole"
    address, log = "127.0.0.1:6390", args.work / "log.txt"
    cluster = start_cluster(args.work)
    words = job_words(args, images, output, "--address", address)
    choose, done, calls = random.Random(0), Counter[str](), 0
    process = start(words, log)
    while done.total() < args.count:
        time.sleep(choose.uniform(4, 20))
        if process.poll() is not None:
            if process.returncode == 0:
                shutil.rmtree(output)
            process, calls = start(words, log), calls + 1
            continue
        kind = choose.choice(("worker", "worker", "driver", "node"))
        victims = {
            "worker": named(family(cluster), "ray::_Actor"),
            "driver": [process],
            "node": named(family(cluster), "raylet"),
        }[kind]
        if not victims:
            continue
        choose.choice(victims).kill()
        done[kind] += 1
        parts = sorted((output / "parts").glob("*/0*.parquet"))
        assert all(pq.read_metadata(part).num_rows for part in parts)
        print(f"{kind} killed, {len(parts)} parts are there, all whole", flush=True)
        if kind == "node":
            end_of_job(process)
            end_cluster(cluster)
            cluster = start_cluster(args.work)
    code = process.wait()
    while code and calls < 2 * args.count:
        calls, code = calls + 1, start(words, log).wait()
    end_cluster(cluster)
    subprocess.run(job_words(args, images, whole), cwd=ROOT, check=True)
    one, other = rows_of(whole), rows_of(output)
    hidden = list((output / "parts").rglob(".*"))
    print(f"{dict(done)}, {calls} calls; {len(other)} rows, {'' if one == other else 'NOT '}equal")
    print(f"{len({row['path'] for row in other})} images, {len(hidden)} unfinished files left")


def start_cluster(folder: Path) -> subprocess.Popen[bytes]:
    """A Ray cluster of this machine alone, which `end_cluster` ends."""
    ray = Path(sys.executable).parent / "ray"
    words = [str(ray), "start", "--head", "--port=6390", "--num-cpus=2", "--block"]
    words += ["--include-dashboard=false", "--disable-usage-stats"]
    cluster = start(words, folder / "ray.txt")
    while not named(family(cluster), "raylet"):
        assert cluster.poll() is None, (folder / "ray.txt").read_text()
        time.sleep(1)
    time.sleep(15)
    return cluster


def end_cluster(cluster: subprocess.Popen[bytes]) -> None:
    """Kills all its processes, as `ray stop --force` would those of all clusters."""
    for each in family(cluster)[::-1]:
        with suppress(psutil().Error):
            each.kill()
    cluster.wait()


def job_words(args: argparse.Namespace, images: Path, output: Path, *more: str) -> list[str]:
    """`frozenseg label`, or with --fake the same without a model, 0.2 seconds an image."""
    if args.fake:
        words = [sys.executable, __file__, "job", "--images", str(images), "--work", str(output)]
        return [*words, *more]
    return command(images, output, "--block-size", "4", *(*RAY, *more) if more else ())


def job(args: argparse.Namespace) -> None:
    """A job of the trial `kills` without a model."""
    from functools import partial

    from frozenseg.labelling.engine import LocalEngine
    from frozenseg.labelling.job import BlockWorker, Job, missing, prepare, run
    from frozenseg.labelling.ray_engine import RayEngine

    job = Job(str(args.images.absolute()), args.work.absolute(), {"seconds": 0.2}, block_size=4)
    make = partial(BlockWorker, job, NoModel)
    engine = RayEngine(make, workers=2, address=args.address) if args.address else LocalEngine(make)
    report = run(engine, missing(job, prepare(job, engine)))
    sys.exit(bool(report.failed))


def named(processes: list[Any], part: str) -> list[Any]:
    """Those whose program has a part in its name."""
    found = []
    for each in processes:
        with suppress(psutil().Error):
            if part in " ".join(each.cmdline()[:1]):
                found.append(each)
    return found


def faults(args: argparse.Namespace) -> None:
    """One image of a hundred broken; a tar that is none; a disk that is full. No model."""
    images = copies(args)
    paths = sorted(images.iterdir())
    for number, path in enumerate(paths[::100]):
        path.write_bytes(b"" if number % 2 else path.read_bytes()[:1000])
    report("1 % broken", args.work / "broken", command(images, args.work / "broken"))
    tars = args.work / "tars"
    tars.mkdir()
    for number in range(4):
        with tarfile.open(tars / f"{number}.tar", "w") as tar:
            for path in paths[number::4]:
                tar.add(path, path.name)
    (tars / "1.tar").write_bytes(b"no tar" * 1000)
    whole = (tars / "2.tar").read_bytes()
    (tars / "2.tar").write_bytes(whole[: len(whole) // 2])
    report("a tar that is none, one cut off", args.work / "in", command(tars, args.work / "in"))
    disk = args.work / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(disk)], check=True)
    try:
        words = command(images, disk / "out", "--block-size", "8")
        report("a full disk", disk / "out", words)
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        report("more room, the same command", disk / "out", words)
        one, other = rows_of(args.work / "broken"), rows_of(disk / "out")
        for row in (*one, *other):
            row["image_id"] = 0  # of blocks of another size
        print("equal rows" if one == other else "NOT equal rows")
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def report(what: str, output: Path, words: list[str]) -> None:
    """Runs a command; its exit code, last lines and what is there."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    rows = rows_of(output)
    errors = [row["error"] for row in rows if row["error"]]
    print(f"{what}: exit code {done.returncode}; {len({row['path'] for row in rows})} images,")
    print(f"  {len(errors)} errors such as {errors[:2]}")
    said = [line for line in done.stderr.splitlines() if line.startswith(("error", "block"))]
    print("\n".join(f"  {line}" for line in (*done.stdout.splitlines(), *said)), flush=True)


def end_of_job(process: subprocess.Popen[bytes]) -> None:
    """Waits up to two minutes for a driver to end by itself."""
    begin = time.monotonic()
    with suppress(subprocess.TimeoutExpired):
        process.wait(120)
    print(
        f"  driver ended with {process.poll()} after {time.monotonic() - begin:.0f} s", flush=True
    )
    if process.poll() is None:
        process.kill()
        process.wait()


def memory(args: argparse.Namespace) -> None:
    """Resident memory of one process over many tiny images, at every tenth of them."""
    images, output = tiny(args), args.work / "out"
    small = ("--opts", "INPUT.MIN_SIZE_TEST", "32")
    process = start(command(images, output, "--block-size", "250", *small), args.work / "log.txt")
    status, step = Path(f"/proc/{process.pid}/status"), max(1, args.count // 20)
    following, begin = step, time.monotonic()
    while process.poll() is None:
        count = 250 * len(list((output / "parts").glob("*/0*.parquet")))
        if count >= following:
            following += step
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            seconds = time.monotonic() - begin
            print(
                f"{count} images, {int(lines['VmRSS'].split()[0]) / 1024:.0f} MiB, {seconds:.0f} s"
            )
            sys.stdout.flush()
        time.sleep(0.2)
    print(f"exit code {process.returncode}")


def tiny(args: argparse.Namespace) -> Path:
    """--count images of 32 x 32 pixels."""
    from PIL import Image

    folder: Path = args.work / "images"
    choose = random.Random(0)
    for number in range(args.count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = tuple(choose.randrange(256) for _ in range(3))
        picture = Image.new("RGB", (32, 32), color)
        picture.paste(tuple(255 - each for each in color), (8, 8, 20, 24))
        picture.save(path)
    return folder


def overhead(args: argparse.Namespace) -> None:
    """All but the model: start, listing, reading, writing, scheduling, for an image each."""
    from functools import partial

    from frozenseg.labelling.engine import LocalEngine
    from frozenseg.labelling.job import BlockWorker, Job, missing, prepare, run
    from frozenseg.labelling.ray_engine import RayEngine

    images = tiny(args)
    for name in ("local", "ray"):
        job = Job(str(images), (args.work / name).absolute(), {})
        make = partial(BlockWorker, job, NoModel)
        begin = time.monotonic()
        engine = LocalEngine(make) if name == "local" else RayEngine(make, workers=2)
        ready = time.monotonic()
        manifest = prepare(job, engine)
        planned = time.monotonic()
        report = run(engine, missing(job, manifest))
        ended = time.monotonic()
        assert report.total.images == args.count
        print(
            f"{name}: start {ready - begin:.1f} s, plan {(planned - ready) / args.count * 1e6:.0f}"
            f" us an image, reading, writing, scheduling {(ended - planned) / args.count * 1e6:.0f}"
            " us an image"
        )
        missing(job, manifest)
        print(f"  resuming: {(time.monotonic() - ended) / manifest.blocks * 1e6:.0f} us a part")


class NoModel:
    """What `SegmentBatch` is to a job, without a model: no image has a segment."""

    batch_size = 4

    def __init__(self, source: str, seconds: float = 0.0) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from frozenseg.labelling.inputs import Store

        self._threads, self._store, self._seconds = ThreadPoolExecutor(4), Store(source), seconds

    def __getattr__(self, name: str) -> Any:
        from frozenseg.labelling.segment_batch import SegmentBatch

        if name not in ("read", "_decode"):
            raise AttributeError(name)
        return getattr(SegmentBatch, name).__get__(self)

    def segment(self, images: list[Any]) -> dict[str, list[Any]]:
        """Rows without segments."""
        time.sleep(self._seconds * len(images))
        from frozenseg.labelling.segment_batch import COLUMNS

        nothing = (None,) * (len(COLUMNS) - 5)
        rows = [(e.image_id, e.path, *e.image_HW3.shape[:2], *nothing, e.error) for e in images]
        return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}

    def identity(self) -> dict[str, Any]:
        """Fields of a manifest."""
        model = {"name": "none", "digest": ""}
        return {"model": model, "words": "", "vocabulary": [], "task": "panoptic", "settings": {}}


class TimedCluster:
    """A cluster whose time is counted: 0.05 seconds an image, workers alike within a third."""

    starting = 30.0  # seconds

    def __init__(self, images: int) -> None:
        self.images, self.clock, self.busy = images, 0.0, 0.0
        self.random, self.numbers = random.Random(0), itertools.count()
        self.events: list[tuple[float, int]] = []
        self.blocks: dict[int, int | None] = {}

    def _task(self, seconds: float, block: int | None) -> int:
        number = next(self.numbers)
        heapq.heappush(self.events, (self.clock + seconds, number))
        self.blocks[number] = block
        return number

    def start(self, worker: int) -> int:
        """See `Cluster`."""
        return self._task(self.starting, None)

    def submit(self, worker: int, block: int) -> int:
        """See `Cluster`."""
        seconds = 0.05 * self.images * self.random.uniform(2 / 3, 4 / 3)
        self.busy += seconds
        return self._task(seconds, block)

    def wait(self, tasks: list[int]) -> list[int]:
        """See `Cluster`."""
        self.clock, first = heapq.heappop(self.events)
        return [first]

    def result(self, task: int) -> Any:
        """See `Cluster`."""
        from frozenseg.labelling.engine import Counts, Outcome

        block = self.blocks.pop(task)
        return None if block is None else Outcome(block, Counts(self.images, self.images * 5, 0))


def simulation(args: argparse.Namespace) -> None:
    """A thousand workers, 100 million images: what the driver, plan and parts cost."""
    from frozenseg.labelling.parts import PartWriter, counts_of_all, existing_parts, write_plan
    from frozenseg.labelling.ray_engine import Schedule
    from frozenseg.labelling.segment_batch import COLUMNS

    total, workers = 100_000_000, 1000
    for images in (256, 1024, 4096):
        blocks, cluster, begin = total // images, TimedCluster(images), time.process_time()
        for _ in Schedule(cluster, range(blocks), workers).outcomes():
            pass
        driver = time.process_time() - begin
        busy, hours = cluster.busy / (workers * cluster.clock), cluster.clock / 3600
        print(
            f"blocks of {images}: {blocks} parts, {driver / blocks * 1e6:.0f} us of the driver a "
            f"block, {cluster.busy / workers / 3600:.2f} h of work, {hours:.2f} h on the "
            f"clock, workers busy {busy:.1%}, one ends every {cluster.clock / blocks * 1e3:.1f} ms",
            flush=True,
        )

    def plan(size: int) -> Iterator[list[tuple[str, int | None]]]:
        for first in range(0, 2_000_000, size):
            yield [(f"s3://bucket/photos/{i:010d}.jpg", None) for i in range(first, first + size)]

    begin = time.monotonic()
    name, blocks = write_plan(args.work, plan(256))
    size = sum(path.stat().st_size for path in (args.work / name).iterdir())
    seconds = time.monotonic() - begin
    print(f"plan: {size / 2e6:.1f} bytes and {seconds / 2e6 * 1e6:.1f} us an image")
    folders = 10
    row: dict[str, list[Any]] = {each: [None] for each in COLUMNS} | {
        "image_id": [0],
        "path": ["x"],
    }
    writer = PartWriter(args.work / "parts" / "000000" / "000000000.parquet")
    writer.add(row)
    writer.close()
    for number in range(1, folders * 1000):
        path = args.work / "parts" / f"{number // 1000:06d}" / f"{number:09d}.parquet"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(writer.path, path)
    begin = time.monotonic()
    there = existing_parts(args.work)
    listed = time.monotonic()
    list(counts_of_all(there.values()))
    read, count = time.monotonic(), len(there)
    print(
        f"resuming: {(listed - begin) / count * 1e6:.0f} us a part to list them, "
        f"{(read - listed) / count * 1e6:.0f} us to read what they hold ({os.cpu_count()} cores)"
    )


TRIALS = {
    each.__name__: each for each in (throughput, kills, job, faults, memory, overhead, simulation)
}

if __name__ == "__main__":
    main()
