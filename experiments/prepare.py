"""Make items from scans or from a folder of images (paper, section 4.1).

    python -m experiments.prepare --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/prepare: items.csv, slices, lung masks and the audit of nodules. Phantoms are
written first, to <workdir>/scans. Takes about 2 minutes for the phantoms on two cores.
"""

from experiments import common
from inres.pipeline.prepare import prepare_items

if __name__ == "__main__":
    common.launch(prepare_items)
