"""Find the cases most similar to a query (paper, Fig. 10).

    python -m experiments.search --workdir=runs/phantom --item=553
    python -m experiments.search --workdir=runs/phantom --image=slice.png
    python -m experiments.search --workdir=runs/phantom --scan=scan.mhd --world=-100.6,67.3,-231.8
    python -m experiments.search --workdir=runs/phantom --scan=dicom_folder --slice=120
    python -m experiments.search --workdir=runs/phantom --queries=queries.csv

Where an item consists of several slices of a nodule, the query can be images of all its slices,
from the lowest to the highest, with their positions or their distance:

    python -m experiments.search --workdir=runs/folder --image=a.png,b.png,c.png --z_mm=-2.5,0,2.5
    python -m experiments.search --workdir=runs/folder --image=slices_of_a_nodule --slice_mm=2.5

--workdir is a workdir with a finished run, or a folder written by `experiments.export`. The query
is an item (a row of the item table), an image file, or a place in a scan (mm, LPS), and is prepared
exactly as the archive's items were. Its own scan is left out unless --own_scan is given. Prints a
table, and writes it as CSV with a figure of the query and the first 50 results.

--weights ranks all items by their properties instead of codes and features: similar in texture and
margin, regardless of size.

    python -m experiments.search --workdir=runs/lidc --item=553 --weights=texture=1,margin=2

--queries names a table of many queries, one per row: `item`; `image` (several are separated by
commas) with optional `z_mm` or `slice_mm`; or `scan` with `x_mm,y_mm,z_mm` or `slice`; and
optionally `name`. Paths are relative to the table. All results go to one CSV table. Rows that fail
are reported there and do not stop the others.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import common
from inres import config as config_lib
from inres.archive import Archive
from inres.config import Config
from inres.figures import panels, style
from inres.pipeline import workdir
from inres.pipeline.export import is_export
from inres.searching import batch, table
from inres.searching.hits import DISTINCT, RANKS, Hits, SearchOptions
from inres.searching.image_text import image_paths, image_positions
from inres.system import files
from inres.system.progress import progress

ITEM = flags.DEFINE_integer("item", None, "Query: a row of the item table, from 0.")
IMAGE = flags.DEFINE_string(
    "image",
    None,
    "Query: an image of one slice or crop; or the slices of one nodule from the lowest to the "
    "highest: files separated by commas, a folder, or a file with several slices.",
)
Z_MM = flags.DEFINE_string(
    "z_mm", None, "With several images: their positions in mm, separated by commas."
)
SLICE_MM = flags.DEFINE_string("slice_mm", None, "With several images: their distance in mm.")
SCAN = flags.DEFINE_string("scan", None, "Query: a scan (.mhd, .nrrd, .nii.gz or DICOM folder).")
QUERIES = flags.DEFINE_string("queries", None, "Queries: a CSV table, one query per row.")
WORLD = flags.DEFINE_string("world", None, "With --scan: x,y,z in mm (LPS, as in LUNA16).")
SLICE = flags.DEFINE_integer("slice", None, "With --scan: the number of a slice, from 0.")
SERIES = flags.DEFINE_string("series", "", "With --scan: UID of the DICOM series, if several.")
OUT = flags.DEFINE_string(
    "out", None, "Path of the output files without their ending; default <workdir>/search/<query>."
)

_DEFAULTS = SearchOptions()
OPTIONS = {
    "k": flags.DEFINE_integer("k", _DEFAULTS.k, "Number of results."),
    "threshold": flags.DEFINE_integer(
        "threshold", None, "The pool differs in fewer bits than this; default: the run's config."
    ),
    "min_pool": flags.DEFINE_integer(
        "min_pool",
        None,
        "Raise the threshold until the pool has this many items; default: the run's config.",
    ),
    "nearest": flags.DEFINE_integer(
        "nearest", 0, "The pool is this many nearest codes, whatever the threshold."
    ),
    "rank": flags.DEFINE_enum("rank", _DEFAULTS.rank, list(RANKS), "What ranks the results."),
    "same_class": flags.DEFINE_bool("same_class", False, "Only items of the predicted class."),
    "distinct": flags.DEFINE_enum(
        "distinct", "", list(DISTINCT), "Show each nodule or scan once, by its nearest item."
    ),
    "where": flags.DEFINE_string(
        "where", "", "Only items whose record meets this SQL condition, as in 'diameter_mm > 8'."
    ),
    "own_scan": flags.DEFINE_bool("own_scan", False, "Also return items of the query's own scan."),
    "weights": flags.DEFINE_list(
        "weights",
        [],
        "Rank all items by these properties alone, as in texture=1,margin=2; see the README.",
    ),
}


OF_QUERY = ("query", "predicted", "pool", "note")
"""Columns of a table of queries that say something of the query."""


def search(arguments: list[str]) -> None:
    """Search for one query, or for each row of a table."""
    common.refuse_arguments(arguments)
    options: dict[str, Any] = {
        name: flag.value for name, flag in OPTIONS.items() if flag.value is not None
    }
    options["weights"] = _weights(options["weights"])
    SearchOptions(**options)  # refuses impossible values before anything is opened
    kind = _query_kind()
    _positions()
    root = common.workdir_path()
    if common.CONFIG.value is not None:
        workdir.require_run_config(root, config_lib.checked(common.given_config(Config)))
    _refuse_overwriting(_planned_output(root, kind), kind)
    rows = batch.read_queries(Path(str(QUERIES.value)).expanduser()) if kind == "queries" else []
    archive = Archive.open(root)
    used = archive.options(options)
    _require_writable(_planned_output(root, kind).parent)
    if kind == "queries":
        _search_table(archive, rows, options, root)
        return
    hits = _search_one(archive, options)
    print(_describe(hits, archive, used))
    stem = _output(root, hits.query.name)
    found = table.rows(hits, archive.class_names, archive.properties, archive.columns)
    files.write_csv(
        _with_ending(stem, ".csv"),
        table.columns(archive.properties, archive.columns),
        table.without_formulas(found),
    )
    panel = table.figure(hits, archive.class_names, archive.properties)
    written = style.save(panel, stem.parent / stem.name, pdf=archive.config.pdf)
    print(f"wrote {stem}.csv and {', '.join(str(path) for path in written)}")


def _output(root: Path, name: str) -> Path:
    """Path of the output files without their ending; an exported folder is not written to."""
    if OUT.value:
        return Path(OUT.value).expanduser()
    folder = Path.cwd() if is_export(root) else root
    return folder / "search" / name


def _planned_output(root: Path, kind: str) -> Path:
    """`_output` before the search; only the name of a query in a scan is not known yet."""
    return _output(root, image_paths(str(IMAGE.value))[0].stem if kind == "image" else "queries")


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.parent / f"{stem.name}{ending}"


def _refuse_overwriting(stem: Path, kind: str) -> None:
    """Refuse outputs that would replace the query.

    Raises:
      ValueError: one is the same file as the query, is a folder, or has no name.
    """
    if stem.name in ("", ".."):
        raise ValueError(f"--out={OUT.value}: a folder; add a name for the output files")
    endings = (".csv",) if kind == "queries" else (".csv", ".png", ".svg", ".pdf")
    given = _query_files(kind)
    for path in (_with_ending(stem, ending) for ending in endings):
        if path.exists() and any(query.exists() and path.samefile(query) for query in given):
            raise ValueError(
                f"{path}: the query itself, would be overwritten; choose another --out"
            )
        if path.is_dir():
            raise ValueError(f"{path}: a folder with the name of an output; choose another --out")


def _query_files(kind: str) -> list[Path]:
    """The files of a query, and those in its folder."""
    if kind == "image":
        paths = image_paths(str(IMAGE.value))
        return [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    given = {"scan": SCAN.value, "queries": QUERIES.value}.get(kind)
    return [Path(given).expanduser()] if given else []


def _require_writable(folder: Path) -> None:
    """Make the folder of the outputs, and a file in it, before time is spent on a search.

    Raises:
      ValueError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder}: results cannot be written there ({error.strerror}); choose another --out"
        ) from None


def _query_kind() -> str:
    """Which flag names the query.

    Raises:
      ValueError: not exactly one, or a place without a scan.
    """
    given = [f.name for f in (ITEM, IMAGE, SCAN, QUERIES) if f.value is not None]
    if len(given) != 1:
        raise ValueError(
            "name one query by --item, --image or --scan, or a table of them by --queries "
            f"(given: {', '.join(given) or 'none'})"
        )
    placed = [f"--{f.name}" for f in (WORLD, SLICE) if f.value is not None]
    if placed and SCAN.value is None:
        raise ValueError(f"{', '.join(placed)}: a place in a scan; name the scan by --scan")
    spaced = [f"--{f.name}" for f in (Z_MM, SLICE_MM) if f.value is not None]
    if spaced and IMAGE.value is None:
        raise ValueError(f"{', '.join(spaced)}: positions of images; name the images by --image")
    if SCAN.value is not None and len(placed) != 1:
        raise ValueError("--scan needs a place: either --world=x,y,z or --slice=number")
    return given[0]


def _search_one(archive: Archive, options: dict[str, Any]) -> Hits:
    if ITEM.value is not None:
        return archive.search_item(ITEM.value, **options)
    if IMAGE.value is not None:
        return archive.search_image(image_paths(IMAGE.value), **_positions(), **options)
    return archive.search_scan(
        str(SCAN.value),
        world_mm=_world(),
        slice_index=SLICE.value,
        series_uid=SERIES.value,
        **options,
    )


def _positions() -> dict[str, Any]:
    return image_positions({"z_mm": Z_MM.value, "slice_mm": SLICE_MM.value}, where="--")


def _world() -> tuple[float, float, float] | None:
    if WORLD.value is None:
        return None
    parts = WORLD.value.split(",")
    if len(parts) != 3 or not all(map(files.is_number, parts)):
        raise ValueError(f"--world={WORLD.value}: must be three numbers x,y,z in mm")
    x, y, z = map(float, parts)
    return x, y, z


def _weights(texts: Sequence[str]) -> dict[str, float]:
    """The weights of properties in --weights.

    Raises:
      ValueError: one is not written as name=number, or a name is repeated.
    """
    weights: dict[str, float] = {}
    for text in texts:
        name, _, number = (part.strip() for part in text.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = None
        if value is None or not name or name in weights:
            raise ValueError(
                f"--weights={','.join(texts)}: must be different properties with a number each, as "
                "in texture=1,margin=2"
            )
        weights[name] = value
    return weights


def _describe(hits: Hits, archive: Archive, used: SearchOptions) -> str:
    """Notes, the predicted class, the pool, the table, and the properties with a summary."""
    predicted = panels.class_title(hits.query.predicted, archive.class_names)
    lines = [f"note: {note}" for note in hits.query.notes]
    lines.append(f"query {hits.query.name}: predicted {predicted}")
    lines.append(table.pool_in_words(hits, used))
    found = table.rows(hits, archive.class_names, others=archive.columns)
    lines.append(table.format_rows(found, archive.columns))
    properties = table.format_properties(hits, archive.properties)
    return "\n".join([*lines, *([properties] if properties else []), *_summary(hits)])


def _summary(hits: Hits) -> list[str]:
    return [f"on average {hits.summary}"] if hits.summary else []


def _search_table(
    archive: Archive, rows: list[batch.QueryRow], options: dict[str, Any], root: Path
) -> None:
    """Search for every row and write one table of all results."""
    found: list[dict[str, Any]] = []
    path = _with_ending(_output(root, "queries"), ".csv")
    of_results = table.columns(archive.properties, archive.columns)
    columns = (*OF_QUERY[:3], *map(_renamed, of_results), OF_QUERY[3])
    done, failed, empty = 0, 0, 0
    searched = batch.search_rows(archive, rows, options)
    try:
        for row, result in progress(searched, name="search", total=len(rows), unit="query"):
            if isinstance(result, Exception):
                reason = common.explain(result)
                print(f"failed: {row.name}: {reason}", flush=True)
                failed += 1
            else:
                empty += not len(result)
                reason = ""
            found += _result_rows(row.name, result, reason, archive)
            done += 1
    finally:  # an interrupt leaves the rows that are finished
        if done:
            files.write_csv(path, columns, table.without_formulas(found))
            print(
                f"{done - failed} of {len(rows)} queries searched, {empty} found nothing, {failed} "
                f"failed; wrote {path}",
                flush=True,
            )
    if failed == len(rows):
        raise ValueError(f"all {failed} queries failed")


def _result_rows(
    name: str, result: Hits | Exception, reason: str, archive: Archive
) -> list[dict[str, Any]]:
    """Rows of the table for one query; at least one, so that every query is in the table."""
    if isinstance(result, Exception):
        return [{"query": name, "note": f"failed: {reason}"}]
    predicted = panels.class_title(result.query.predicted, archive.class_names)
    notes = "; ".join(result.query.notes)
    query = {"query": name, "predicted": predicted, "pool": result.pool_size, "note": notes}
    rows = table.rows(result, archive.class_names, archive.properties, archive.columns)
    return [
        query | {_renamed(name): value for name, value in values.items()} for values in rows
    ] or [query]


def _renamed(name: str) -> str:
    """A column of the results in a table of queries, which has columns of its own."""
    return f"{name}_" if name in OF_QUERY else name


if __name__ == "__main__":
    common.launch_with_arguments(search, required=("workdir",), optional=("config",))
