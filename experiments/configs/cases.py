"""Any scans, listed in a table cases.csv with a column `scan` and the place of each finding.

    python -m experiments.reproduce --config=experiments/configs/cases.py \\
        --config.data.root=FOLDER/cases.csv --workdir=runs/cases

inres/data/README.md describes the table. A minute per four scans to prepare on two cores, and about
ten minutes to train, whatever the number of items. Items are labelled by the size of the finding;
--config.items.label=COLUMN labels them by a column of the table, such as a diagnosis, which also
serves scans in which nothing is marked. Whole patients are tested, or the rows with `test` in a
column `split` (--config.split.kind=column). Scans with slices thicker than 2.5 mm are kept.
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="cases")
    config.data = Data(kind="cases", max_thickness_mm=0.0)
    config.items = Items(normals=250, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="patient")
    config.segment = Segment(width=8, depth=4, size_px=128, steps=250)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=10)
    return config
