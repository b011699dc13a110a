"""Items cut from the small chest of `ct.trees`."""

from inres.config import Config, Data, Items
from inres.data.item_store import open_store
from inres.data.prepare import prepare

SPACING = 2.5
SCANS = [
    {"uid": "a", "subset": 2, "nodules": [(-60, 0, 10, 14), (97, 0, -20, 22)]},
    {"uid": "b", "subset": 0, "nodules": [(70, 10, 30, 9)], "flips": (-1, -1, 1)},
    {"uid": "c", "subset": 0, "spacing": (2.8, 3.0, 2.0)},
]
EXCLUDED = [("c", 60, 0, 40, -1), ("c", -60, 0, -40, 12), ("b", 60, 0, -30, 3.5)]


def make_config(root, **items):
    items = {"spacing_mm": SPACING, "canvas_mm": 280.0, "normals": 12, "size_px": 32} | items
    return Config(data=Data(kind="phantom", root=str(root)), items=Items(**items))


def config_of_labels(root):
    return Config(
        data=Data(kind="phantom", root=str(root), lung_masks="luna16"),
        items=make_config(root).items,
    )


def run(config, root, out, **kwargs):
    kwargs = {"workers": 1, "progress": lambda steps, **_: steps} | kwargs
    prepare(config, root=root, out=out, **kwargs)
    return open_store(out)


def table(store):
    return (store.root / "items.csv").read_text()


def nodules(store):
    return [i for i, item in enumerate(store.items) if item.nodule]


def normals(store):
    return [i for i, item in enumerate(store.items) if not item.nodule]
