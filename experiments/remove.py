"""Remove items from the archive of a finished run.

    python -m experiments.remove --workdir=runs/luna16 --where="scan = 'NAME'"

--where is an SQL condition on the records, as for `experiments.search`. Programs that have the
archive open keep the items until they open it again; `experiments.serve` drops them with the next
query. Images and embeddings stay in the workdir; only the archive forgets the items.
"""

from absl import flags

from experiments import common
from inres.archive import Archive

WHERE = flags.DEFINE_string("where", None, "SQL condition on the records of the items to remove.")


def remove(arguments: list[str]) -> None:
    """Remove the items that meet --where from the archive in --workdir."""
    common.refuse_arguments(arguments)
    archive = Archive.open(common.workdir_path())
    count = archive.remove(str(WHERE.value))
    print(f"removed {count} items; the archive holds {len(archive)}")


if __name__ == "__main__":
    common.launch_with_arguments(remove, required=("workdir", "where"))
