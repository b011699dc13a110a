"""Write a finished run as one portable folder.

    python -m experiments.export --workdir=runs/phantom --out=exports/phantom

The folder holds the network, hyperplanes, U-Net, archive, records, a thumbnail of each item, the
config, a model card (model.json) and checksums, and no path of this machine. `Archive.open` and
`experiments.search` accept it like a workdir. --config is needed only for a config file that
registers a loss, network or source of its own.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.pipeline.export import export_run

OUT = flags.DEFINE_string("out", None, "Folder to write.")


def export(arguments: list[str]) -> None:
    """Export the run in --workdir."""
    common.refuse_arguments(arguments)
    out = Path(str(OUT.value)).expanduser().resolve()
    export_run(common.workdir_path(), out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"wrote {out} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    common.launch_with_arguments(export, required=("workdir", "out"), optional=("config",))
