"""A finished run as one portable folder: written by `export_run`, opened by `open_export`.

  model.json      model card: data, classes, counts, scores with intervals, versions, fingerprint
  config.json     the run's config, without paths
  network.npz     variables of the network, by path
  unet.npz        variables of the U-Net (absent where the lungs are not from a U-Net)
  planes.npz      hyperplanes of the code (absent where the code is H at 0.5)
  items.csv       the item table
  scans.csv       digests of the scans, by which copies are found (absent where these are unknown)
  embeddings.npz  the layers of the network for every item
  properties.json the properties that the network estimates, and their scale
  thumbnails.npy  uint8 [N, S, S], every item as the network sees it
  trained.npy     digests of the network inputs in training
  *.jaxexport     the networks as programs that need no Flax, and expected.npz (`programs`)
  archive/        the index with codes, features and records
  checksums.json  SHA-256 of all files but itself and those of archive/, which has its own

It contains no path of the machine that wrote it and no pixels of scans beyond the thumbnails.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inres import config as config_lib
from inres import sources
from inres.config import Config
from inres.data import identity, item_table
from inres.encoding.variables import nested
from inres.pipeline import artifacts, digests, export_checks, stages, workdir
from inres.pipeline.export_checks import COPY, ExportError
from inres.pipeline.trained import TrainedRun, open_workdir, require_network_of, with_added
from inres.storage import store as storage
from inres.storage.manifest import LOCK
from inres.system import files
from inres.system.lazy import Lazy
from inres.system.progress import progress

if TYPE_CHECKING:
    from inres.encoding.in_batches import Encoders, Segmenter
    from inres.pipeline import networks, programs
    from inres.pipeline.networks import Network
else:
    # They import JAX, which most queries do not need.
    networks, programs = Lazy("inres.pipeline.networks"), Lazy("inres.pipeline.programs")

_SCORES = (
    "map_macro",
    "precision_at_10_macro",
    "ndcg_at_10",
    "ndcg_mm_at_10",
    "diameter_error_mm_at_10",
    "malignancy_agreement_at_10",
)
"""Scores of the two-stage search in the model card."""


# --- writing --------------------------------------------------------------------------------------


def export_run(root: Path, out: Path) -> None:
    """Write the finished run in the workdir `root` as the portable folder `out`.

    `out` appears when it is complete. It may be an empty folder, or an earlier export, which is
    replaced unless files were added to it.

    Raises:
      FileNotFoundError, StageError: the run is not finished.
      ExportError: `out` belongs to the workdir, or contains a file that no export wrote.
    """
    out = out.resolve()
    _require_outside(root, out)
    _require_replaceable(out)
    run = open_workdir(root)
    needed = ("dataset", "protocol", "rankings")
    metrics = files.read_object(root / "evaluation" / "metrics.json", needed)
    environment = files.read_object(root / workdir.ENVIRONMENT)
    with files.atomic_path(out) as part:
        part.mkdir()
        files.write_json(part / export_checks.CARD, model_card(run, metrics, environment))
        files.write_json(part / "config.json", _portable_config(run.config))
        _write_networks(run, part)
        item_table.write_table(part / "items.csv", run.items)
        if scans := run.load_scans():
            identity.write(part / "scans.csv", scans)
        first, *added = run.layers
        artifacts.save_embeddings(part / "embeddings.npz", first.followed_by(*added))
        artifacts.save_property_scale(part, run.property_scale)
        with files.array_file(part / "thumbnails.npy", run.images.shape) as file:
            for image in progress(run.images, name="write thumbnails", unit="item"):
                file.write(np.ascontiguousarray(image).tobytes())
        shutil.copyfile(root / "index" / "trained.npy", part / "trained.npy")
        shutil.copytree(run.stored.path, part / "archive", ignore=shutil.ignore_patterns(LOCK))
        programs.write(run, part)
        sums = {path.name: files.sha256(path) for path in sorted(part.glob("*.*"))}
        files.write_json(part / export_checks.CHECKSUMS, sums)
        programs.require_expected(open_export(part, portable=True))


def _require_outside(root: Path, out: Path) -> None:
    """Check that `out` would replace neither the workdir `root` nor a part of its results."""
    if root.resolve().is_relative_to(out):
        raise ExportError(f"{out}: contains the run to export; choose another folder")
    for stage in (root / name for name in stages.STAGES):
        if out.is_relative_to(stage.resolve()):
            raise ExportError(f"{out}: lies in {stage}, which belongs to the run; choose another")


def _require_replaceable(out: Path) -> None:
    """Check that `out` is absent, an empty folder, or an exported run without added files."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        export_checks.read_format(out / export_checks.CARD)
        ours = {*export_checks.read_checksums(out), export_checks.CHECKSUMS}
    except (ValueError, OSError):
        raise ExportError(
            f"{out}: exists and is not an exported run; choose another folder"
        ) from None
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        folder = path.is_dir() and not path.is_symlink()
        if not (folder or str(name) in ours or name.parts[0] == "archive"):
            raise ExportError(
                f"{path}: not a file of the exported run in {out}, which would be replaced; move "
                "it, or choose another folder"
            )


def _portable_config(config: Config) -> dict[str, Any]:
    values = config_lib.to_dict(config)
    values["data"]["root"] = ""
    return values


def _write_networks(run: TrainedRun, out: Path) -> None:
    networks.write_variables(out / "network.npz", run.network[1])
    if run.hyperplanes is not None:
        artifacts.save_hyperplanes(out / "planes.npz", run.hyperplanes)
    if run.segmenter is not None:
        networks.write_variables(out / "unet.npz", networks.unet_variables(run.root / "segment"))


def model_card(
    run: TrainedRun, metrics: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """What a reader should know of the run: data, classes, counts, scores, versions."""
    intervals = (metrics.get("intervals") or {}).get("rankings", {}).get("two_stage", {})
    scores = metrics["rankings"]["two_stage"]
    unset = {"command", "platform", "processors"}
    return {
        "format": export_checks.FORMAT,
        "version": export_checks.VERSION,
        "name": run.config.name,
        "use": "research; not a medical device",
        "data": {
            "kind": run.config.data.kind,
            "items": len(run),
            "archived": len(run.stored),
            "scans": len({item.scan for item in run.items}),
            "split": run.config.split.kind,
        },
        "classes": list(run.class_names),
        "counts": metrics["dataset"],
        "queries": metrics["protocol"]["queries"],
        "scores": {
            key: {"value": scores[key], "interval_95": intervals.get(key)}
            for key in _SCORES
            if scores.get(key) is not None
        },
        "network": run.config.model.name,
        "input": _seen(run.config),
        "precision": run.config.train.precision,
        "bits": run.stored.bits,
        "segmented": run.segmenter is not None,
        "channels": run.channels,
        "reach": run.reach,
        "item_side_px": run.item_side_px,
        "scale": dataclasses.asdict(run.scale),
        "fingerprint": run.stored.model,
        "versions": {name: value for name, value in environment.items() if name not in unset},
    }


def _seen(config: Config) -> dict[str, Any]:
    """What a network input shows of an item, with lengths in mm and pixels."""
    items = config.items
    seen: dict[str, Any] = {"view": items.view, "planes": config.model.planes}
    if items.view == "cube":
        return seen | {"cube_mm": items.cube_mm, "side_px": items.cube_px}
    if items.view == "crop" and not sources.get(config.data.kind).ready_made:
        seen["crop_mm"] = items.crop_mm
    return seen | {"neighbours": items.neighbours, "side_px": items.size_px}


# --- opening --------------------------------------------------------------------------------------


def is_export(root: Path) -> bool:
    """Whether the folder `root` looks like an exported run."""
    return (root / export_checks.CARD).is_file() or (root / export_checks.CHECKSUMS).is_file()


def verify(root: Path) -> None:
    """Compare all files of the exported run in `root`, but those of its archive, with their sums.

    Its programs, if it has any, are run on thumbnails and compared with the networks.

    Raises:
      ExportError: names the first file that is missing, damaged, or without a checksum, or what a
        program computes differently.
    """
    export_checks.verify(root)
    if programs.EXPECTED in export_checks.read_checksums(root):
        programs.require_expected(open_export(root, portable=True))


def open_export(root: Path, *, portable: bool = False) -> TrainedRun:
    """Open a folder that `export_run` wrote.

    Files are compared with their checksums when they are read; those that are memory-mapped, by
    `experiments.verify`.

    Args:
      root: the folder.
      portable: encode with the programs in the folder, without Flax.

    Raises:
      ExportError, ValueError: it is damaged or not an exported run; names the file.
      FileNotFoundError: the archive in it is missing.
    """
    card = export_checks.read_card(root)
    sums = export_checks.read_checksums(root)
    segmented = card["segmented"]
    needed = [*export_checks.REQUIRED, *(["unet.npz"] if segmented else [])]
    export_checks.require_files(root, sums, needed)

    def whole(name: str) -> Path:
        return export_checks.whole(root, sums, name)

    whole(export_checks.CARD)
    config = workdir.read_config(whole("config.json").parent)
    if config.hash.code != "latent":
        export_checks.require_files(root, sums, ["planes.npz"])
        whole("planes.npz")
    stored = storage.load(root / "archive", model=card["fingerprint"])
    scale = artifacts.load_property_scale(whole("properties.json").parent, COPY)
    hyperplanes = artifacts.load_hyperplanes(config, root, COPY)

    def load_network() -> "Network":
        return networks.read_network(
            whole("network.npz"),
            config,
            classes=len(card["classes"]),
            properties=len(scale),
            remedy=COPY,
        )

    def program(name: str) -> Path:
        if name not in sums:
            raise ExportError(
                f"{root}: has no {name}, because it was exported by an older version; export the "
                "run again, or open it with Flax"
            )
        return whole(name)

    def load_encoders() -> "Encoders":
        variables = files.load_arrays(whole("network.npz"), remedy=COPY)
        require_network_of(stored, nested(variables), hyperplanes, root)
        return programs.load_encoders(program, config, variables, card["channels"])

    def load_segmenter() -> "Segmenter | None":
        if not segmented:
            return None
        if portable:
            return programs.load_segmenter(program, whole("unet.npz"), config)
        return networks.unet_segmenter(config, networks.read_variables(whole("unet.npz"), COPY))

    run = TrainedRun(
        root=root,
        config=config,
        class_names=tuple(card["classes"]),
        load_items=lambda: tuple(item_table.read_written(whole("items.csv"))),
        images=files.load_array(root / "thumbnails.npy", COPY, mmap=True),
        channels=card["channels"],
        reach=card["reach"],
        item_side_px=card["item_side_px"],
        layers=(artifacts.load_embeddings(root, COPY),),
        property_scale=scale,
        hyperplanes=hyperplanes,
        scale=artifacts.to_scale(card["scale"]),
        stored=stored,
        load_digests=lambda: digests.read(whole("trained.npy"), COPY),
        data_root=None,
        load_network=load_network,
        load_segmenter=load_segmenter,
        load_encoders=load_encoders if portable else None,
        load_scans=lambda: identity.read([whole("scans.csv")] if "scans.csv" in sums else []),
    )
    if len(run.layers[0]) != len(run):
        raise ExportError(
            f"{root / 'embeddings.npz'}: holds {len(run.layers[0])} items, thumbnails.npy "
            f"{len(run)}; {COPY}"
        )
    return with_added(run)
