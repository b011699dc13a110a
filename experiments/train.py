"""Train InRes-Net or AlexNet on the segmented items (paper, sections 3.2 to 3.4).

    python -m experiments.train --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/train: inputs.npy (what the network sees), checkpoints, log.jsonl, TensorBoard
events and summary.json. An interrupted training continues from its last checkpoint, to the same
weights.

--profile=FOLDER also writes a trace of ten steps after the first ten, for TensorBoard's profile
plugin and ui.perfetto.dev:

    python -m experiments.train --config=experiments/configs/phantom.py --workdir=runs/phantom \\
        --redo=train --profile=profiles/phantom
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.config import Config
from inres.pipeline.train import train_network

PROFILE = flags.DEFINE_string("profile", "", "Folder for a trace of some training steps.")


def train(config: Config, workdir: Path) -> None:
    """Train, and trace some steps if --profile is given."""
    if not PROFILE.value:
        train_network(config, workdir)
        return
    folder = Path(PROFILE.value).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.rglob("*.xplane.pb"))
    train_network(config, workdir, profile=folder)
    if written := sorted(set(folder.rglob("*.xplane.pb")) - before):
        print(f"wrote a trace to {written[0].parent}")
    else:
        print("note: no step was computed, so there is no trace; --redo=train trains again")


if __name__ == "__main__":
    common.launch(train)
