"""What the records of an archive say of its items."""

from typing import Any

from inres.data.items import Item

RECORD_COLUMNS = (
    *("scan", "patient", "nodule", "label", "diameter_mm", "malignancy", "subset"),
    *("x_mm", "y_mm", "z_mm"),
)
"""Columns of the item table in the archive's records, in addition to `item`, `image`, the
properties and the texts."""


def fields_of(item: Item, number: int) -> dict[str, Any]:
    """The part of an item's record that all archives have."""
    known = {name: getattr(item, name) for name in RECORD_COLUMNS}
    return {"item": number, "image": item.image} | known
