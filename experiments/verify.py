"""Compare every file of an archive with its checksum.

    python -m experiments.verify --workdir=runs/luna16

The workdir is that of a finished run, an exported archive, or an index itself. Opening an archive
checks sizes and headers but reads no items, so that a search begins at once; this command reads
everything, which takes some seconds per ten gigabytes. Names the first damaged file. The programs
of an exported run are also run on some of its thumbnails, and compared with what its networks gave.
"""

from experiments import common
from inres.pipeline import added, export
from inres.storage import manifest, store


def verify(arguments: list[str]) -> None:
    """Verify the archive in --workdir, and the additions to it."""
    common.refuse_arguments(arguments)
    root = common.workdir_path()
    places = (root / "index" / "archive", root / "archive", root)
    found = next((place for place in places if (place / manifest.MANIFEST).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{root}: holds no archive; give the workdir of a finished run")
    if export.is_export(found.parent):
        export.verify(found.parent)
    store.verify(found)
    for segment in added.segments(found):
        added.verify(segment)
    print(f"{found}: all files agree with their checksums")


if __name__ == "__main__":
    common.launch_with_arguments(verify, required=("workdir",))
