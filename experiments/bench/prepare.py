"""Time and memory of preparing a scan, next to reading and resampling it with SimpleITK alone.

Called by `experiments.bench`. Both run on one core in one process, in turns. The compared times are
processor times, which other programs on the machine change little; wall times are given next to
them. Peak memory is that of a new process which does one of the two, including the interpreter and
its libraries. Writes bench_prepare.json and bench_prepare.md to the workdir.
"""

import contextlib
import cProfile
import dataclasses
import os
import resource
import shutil
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from ml_collections import ConfigDict

from inres.config import Config, Phantom
from inres.ct import lungs
from inres.ct import scan as ct
from inres.data import location, scan_items
from inres.data.scan_items import Job
from inres.phantoms.plan import plan_dataset
from inres.phantoms.scan import make_scan
from inres.sources import Finding, Scan
from inres.system import files, processes, tables
from inres.system.memory import keep_freed_memory
from inres.system.progress import progress

STEPS: dict[str, Callable[..., Any]] = {
    "read": ct.read_voxels,
    "turn to common axes": ct.canonical,
    "resample": ct.resample,
    "threshold mask": lungs.threshold_mask,
    "- body": lungs._body,
    "- airways": lungs._airway,
    "- two lungs": lungs._two_lungs,
    "repair of the mask": lungs.repair,
    "location in the lungs": location.locate,
    "cut and write items": scan_items._write,
}
"""The steps and the functions that do them; those with a dash are parts of the one before."""

SCANS = {
    "scan": "scan",
    "voxels": "voxels",
    "simpleitk_cpu_s": "SimpleITK, CPU s",
    "prepare_cpu_s": "prepare, CPU s",
    "ratio": "ratio",
    "simpleitk_wall_s": "SimpleITK, wall s",
    "prepare_wall_s": "prepare, wall s",
    "simpleitk_mib": "SimpleITK, peak MiB",
    "prepare_mib": "prepare, peak MiB",
}


def measure_prepare(config: ConfigDict, workdir: Path) -> None:
    """Measure every scan; results are written after each one."""
    scratch = workdir / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    try:
        paths = [Path(path).expanduser() for path in config.scans]
        for path in paths:
            ct.read_header(path)  # an error of a scan shows before the phantom is made
        if config.slices:
            paths.insert(0, write_phantom(config, scratch / "phantom.mhd"))
        for number, path in enumerate(paths):
            job = make_job(config, path, scratch / f"{number}.npz")
            with one_core():
                rows.append(measure(path, job, rounds=config.rounds))
            files.write_json(
                workdir / "bench_prepare.json", {"cores": os.cpu_count(), "scans": rows}
            )
            files.write_text(workdir / "bench_prepare.md", tables_of(rows))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(tables_of(rows))
    print(workdir / "bench_prepare.json", workdir / "bench_prepare.md", sep="\n")


def write_phantom(config: ConfigDict, path: Path) -> Path:
    """Write a phantom of the requested size, compressed like LUNA16's scans."""
    phantom = Phantom(scans=1, subsets=1, matrix=config.matrix, extent_mm=config.extent_mm)
    [plan] = plan_dataset(phantom, seed=config.seed)
    plan = dataclasses.replace(plan, thickness_mm=config.extent_mm / config.slices)
    scan = make_scan(phantom, seed=config.seed, index=0, plan=plan)
    image = sitk.GetImageFromArray(scan.hu)
    image.SetSpacing(scan.spacing)
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def make_job(config: ConfigDict, path: Path, out: Path) -> Job:
    """The preparation of one scan, with nodules at places in its middle."""
    header = ct.read_header(path)
    rng = np.random.default_rng(config.seed)
    index = (np.array(header.shape) - 1) * rng.uniform(0.4, 0.6, (config.nodules, 3))
    places = [tuple(map(float, header.index_to_world(one))) for one in index]
    nodules = tuple(
        Finding(str(n), (x, y, z), diameter_mm=8.0) for n, (x, y, z) in enumerate(places)
    )
    experiment: Config = config.experiment
    return Job(Scan(path.stem, path, nodules=nodules), experiment, config.normals, out)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run on one core with one thread of SimpleITK, as a worker of `prepare` does."""
    keep_freed_memory()
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        if cores is not None:
            os.sched_setaffinity(0, {max(cores)})
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        if cores is not None:
            os.sched_setaffinity(0, cores)


def simpleitk(path: Path, spacing_mm: float) -> None:
    """Read a scan and resample it to cubic voxels, with SimpleITK alone."""
    if path.is_dir():
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    else:
        image = sitk.ReadImage(str(path))
    size = [
        max(1, round(n * old / spacing_mm))
        for n, old in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        (spacing_mm,) * 3,
        image.GetDirection(),
        ct.AIR_HU,
        image.GetPixelID(),
    )


def measure(path: Path, job: Job, *, rounds: int) -> dict[str, Any]:
    """Times, steps and memory of one scan."""
    spacing = job.config.items.spacing_mm
    rivals: dict[str, Callable[[], Any]] = {
        "simpleitk": lambda: simpleitk(path, spacing),
        "prepare": lambda: scan_items.work(job),
    }
    for call in rivals.values():
        call()
    cpu: dict[str, list[float]] = {name: [] for name in rivals}
    wall: dict[str, list[float]] = {name: [] for name in rivals}
    steps: list[dict[str, float]] = []
    for _ in progress(range(rounds), name=path.name, unit="round"):
        for name, call in rivals.items():
            began, used = time.perf_counter(), time.process_time()
            call()
            cpu[name].append(time.process_time() - used)
            wall[name].append(time.perf_counter() - began)
        steps.append(steps_of(rivals["prepare"]))
    middle = {name: statistics.median(taken) for name, taken in cpu.items()}
    return {
        "scan": path.name,
        "voxels": " x ".join(map(str, reversed(ct.read_header(path).shape))),
        **{f"{name}_cpu_s": round(seconds, 3) for name, seconds in middle.items()},
        "ratio": round(middle["prepare"] / middle["simpleitk"], 2),
        **{f"{name}_wall_s": round(statistics.median(t), 3) for name, t in wall.items()},
        "simpleitk_mib": peak_mib(simpleitk, path, spacing),
        "prepare_mib": peak_mib(scan_items.work, job),
        "stored": stored(job),
        "rounds": {name: [round(seconds, 6) for seconds in t] for name, t in cpu.items()},
        "steps_cpu_s": {
            name: round(statistics.median(step[name] for step in steps), 4) for name in steps[0]
        },
    }


def stored(job: Job) -> dict[str, dict[str, float]]:
    """What each kind of image takes in the file of a scan, as in the item store.

    Returns:
      By kind: `bytes` compressed, `share` of the uncompressed size, `unpack_ms`; means of the rows.
    """
    with np.load(job.path) as part:
        kinds = [name for name in part.files if scan_items.lengths_of(name) in part.files]
        found = {name: (part[name], part[scan_items.lengths_of(name)]) for name in kinds}
    out = {}
    for name, (content, lengths) in found.items():
        ends = np.cumsum(lengths)
        began = time.process_time()
        rows = [
            zlib.decompress(content[end - length : end].data)
            for end, length in zip(ends, lengths, strict=True)
        ]
        seconds = time.process_time() - began
        if size := sum(map(len, rows)):
            out[name] = {
                "bytes": round(float(lengths.mean())),
                "share": round(float(lengths.sum() / size), 4),
                "unpack_ms": round(1e3 * seconds / len(rows), 3),
            }
    return out


def steps_of(call: Callable[[], Any]) -> dict[str, float]:
    """Processor seconds of each step of a preparation, and of the rest."""
    profile = cProfile.Profile(time.process_time)
    began = time.process_time()
    profile.runcall(call)
    total = time.process_time() - began
    found = {entry.code: entry.totaltime for entry in profile.getstats()}
    seconds = {name: found.get(step.__code__, 0.0) for name, step in STEPS.items()}
    apart = sum(taken for name, taken in seconds.items() if not name.startswith("-"))
    return seconds | {"everything else": total - apart}


def peak_mib(function: Callable[..., Any], *arguments: Any) -> int:
    """Peak memory of a process that does nothing else, in MiB."""
    job = (function, *arguments)
    with processes.running(_peak, [job], workers=1, start=_start_worker) as [done]:
        return done.result()


def _start_worker() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _peak(function: Callable[..., Any], *arguments: Any) -> int:
    function(*arguments)
    try:
        # getrusage would include the process that started this one.
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return int(text.split("VmHWM:")[1].split()[0]) // 2**10
    except OSError:  # not on Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // (2**20 if sys.platform == "darwin" else 2**10)


def tables_of(rows: list[dict[str, Any]]) -> str:
    """All tables as Markdown: the scans, the steps of their preparation, and what is stored."""
    scans = [tuple(str(row[key]) for key in SCANS) for row in rows]
    steps = [
        (name, *(f"{row['steps_cpu_s'][name]:.2f}" for row in rows))
        for name in (rows[0]["steps_cpu_s"] if rows else ())
    ]
    kinds = [
        (
            name,
            *(
                f"{kind['bytes']:,} bytes, {kind['share']:.3f}, {kind['unpack_ms']:.2f} ms"
                for kind in (row["stored"][name] for row in rows)
            ),
        )
        for name in (rows[0]["stored"] if rows else ())
    ]
    return "\n".join(
        [
            tables.markdown(tuple(SCANS.values()), scans),
            tables.markdown(("stored", *(row["scan"] for row in rows)), kinds),
            tables.markdown(("CPU s", *(row["scan"] for row in rows)), steps),
        ]
    )
