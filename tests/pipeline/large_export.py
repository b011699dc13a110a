"""How long an archive of very many items takes to open, to search and to grow, next to a small one.

    PYTHONPATH=. python tests/pipeline/large_export.py --export=exports/smoke --cases=cases.csv \\
        --items=1000000 --out=exports/large

Writes a copy of an exported run in which its items are repeated with noise, in scans of their own,
then adds a scan to both and removes it. Not a test.
"""

import argparse
import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np

from inres import Archive
from inres.data import item_table
from inres.encoding.encoded import Encoded
from inres.pipeline import artifacts, export, records
from inres.retrieval import codes
from inres.storage import store
from inres.system import files


def enlarge(source, out, count):
    """Write the exported run `source` with `count` items."""
    run, rng = export.open_export(source), np.random.default_rng(0)
    shutil.copytree(source, out, ignore=shutil.ignore_patterns("archive", "added"))
    rows = np.arange(count) % len(run)
    layers = [
        layer[rows] + rng.standard_normal((count, layer.shape[1]), np.float32) * layer.std() / 20
        for layer in vars(run.layers[0]).values()
    ]
    encoded = Encoded(*layers)
    items = [
        dataclasses.replace(run.items[row], scan=f"scan{place // 10:07d}")
        for place, row in enumerate(rows)
    ]
    item_table.write_table(out / "items.csv", items)
    artifacts.save_embeddings(out / "embeddings.npz", encoded)
    with files.array_file(out / "thumbnails.npy", (count, *run.images.shape[1:])) as file:
        for row in rows:
            file.write(np.ascontiguousarray(run.images[row]).tobytes())
    names, texts = item_table.property_names(run.items), item_table.text_names(run.items)
    records = [
        records.fields_of(item, place)
        | {name: item.value(name) for name in names}
        | {name: item.text(name) for name in texts}
        for place, item in enumerate(items)
    ]
    made, known = run.representation, artifacts.known_of(run.config, items, run.property_scale)
    packed, features = codes.pack(made.to_bits(encoded, known)), made.to_features(encoded, known)
    given = {"bits": run.stored.bits, "group": "scan", "label": "label"}
    store.save(out / "archive", packed, features, records, model=run.stored.model, **given)
    sums = {path.name: files.sha256(path) for path in out.glob("*.*")}
    files.write_json(out / "checksums.json", {n: s for n, s in sums.items() if "checksum" not in n})


def report(folder, cases):
    """Print the times of one archive; each addition encodes with networks that are loaded anew."""

    def timed(name, run):
        began, busy = time.perf_counter(), time.process_time()
        found = run()
        spent = time.perf_counter() - began, time.process_time() - busy
        print(f"  {name}: {spent[0]:.3f} s, {spent[1]:.3f} s of processor time")
        return found

    archive = timed("open", lambda: Archive.open(folder))
    print(f"{folder}: {len(archive)} items")
    for turn in ("first", "second"):
        timed(f"{turn} search", lambda: archive.search_item(archive.item_count // 2))
    item = archive.item_count // 2
    timed("search with a condition", lambda: archive.search_item(item, where="diameter_mm > 10"))
    timed("read the properties of all items", lambda: archive._properties)
    data = dataclasses.replace(archive.config.data, kind="cases", max_thickness_mm=0.0)
    before = len(archive)
    timed("add", lambda: archive.add(cases, data=data, workers=1))
    added = archive.records[int(archive._ids[-1])]["scan"]
    timed("remove", lambda: archive.remove(f"scan = '{added}'"))
    assert len(archive) == before


def main():
    parser = argparse.ArgumentParser()
    for name in ("export", "cases", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1_000_000)
    given = parser.parse_args()
    if not given.out.exists():
        enlarge(given.export, given.out, given.items)
    for folder in (given.export, given.out, given.export, given.out):
        report(folder, given.cases)


if __name__ == "__main__":
    main()
