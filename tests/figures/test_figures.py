"""Figures accept any plausible input, have titles and axis names, and leave no global state."""

import itertools
import pkgutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from inres import figures, vocabulary
from inres.data.items import size_class
from inres.figures import codes, curves, items, lungs, panels, rankings, similarity, studies, style
from inres.vocabulary import CLASS_NAMES, ranking_names

IMAGE = np.arange(256, dtype=np.uint8).reshape(16, 16)


def words(figure):
    """All text in a figure."""
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def marks(figure):
    text = "".join(words(figure))
    return text.count("\N{HEAVY CHECK MARK}"), text.count("\N{HEAVY BALLOT X}")


@pytest.mark.parametrize("results", [0, 1, 5, 7, 10])
def test_a_search_panel_shows_each_result_once(results):
    query = panels.Shown(IMAGE, 3, 7.25, "1.2.3.4.5.6.7.8.999")
    found = [
        panels.Shown(IMAGE, 3 if i % 2 else 1, 4.5, f"scan{i}", hamming=i, distance=i * 1.2)
        for i in range(results)
    ]
    figure = panels.search_panel(query, found, class_names=CLASS_NAMES)
    images = sum(len(axes.images) for axes in figure.axes)
    assert images == 1 + results
    assert marks(figure) == (results // 2, results - results // 2)
    text = words(figure)
    assert "7.2 mm" in text
    assert text.count("4.5 mm") == results
    for i in range(results):
        assert str(i + 1) in text
        distances = f"H {i}   E {i * 1.2:.2f}"  # such as E 2.40: two decimal places, always
        assert any(f"scan{i}" in line and distances in line for line in text)
    if not results:
        assert any("No item of the archive" in line for line in text)
    figure.canvas.draw()


def test_a_panel_of_unlabelled_images_has_no_marks():
    found = [panels.Shown(IMAGE, 2, float("nan"), "a"), panels.Shown(IMAGE, -1, 0.0, "b")]
    assert marks(panels.search_panel(panels.Shown(IMAGE), found)) == (0, 0)
    known = panels.search_panel(panels.Shown(IMAGE, 2), found)
    assert marks(known) == (1, 0)
    assert words(known).count("no nodule") == 1


@pytest.mark.parametrize(
    ("diameter", "text"),
    [
        (7.25, "7.2"),
        (10.0, "10.0"),
        (4.97, "4.97"),
        (5.0, "5.00"),
        (5.04, "5.04"),
        (22.96, "22.96"),
        (5.996, "5.996"),
        (8.003, "8.00"),
        (np.nextafter(13.0, 0.0), "12.999999999999998"),
        (12.94, "12.9"),
        (0.0, "0.0"),
    ],
)
def test_a_rounded_diameter_stays_in_its_class(diameter, text):
    assert panels.millimetres(diameter) == text
    assert size_class(float(text)) == size_class(diameter)


def test_class_titles():
    assert panels.class_title(0, CLASS_NAMES) == "normal"
    assert panels.class_title(7, CLASS_NAMES) == ">23 mm"
    assert panels.class_title(1, ["no nodule", "nodule"]) == "nodule"
    assert panels.class_title(1, ["0", "1", "2"]) == "class 1"
    assert panels.class_title(4, []) == "class 4"
    assert panels.class_title(-1, []) == "class unknown"


def test_saving_gives_png_and_svg_with_the_same_bytes_each_time(tmp_path):
    def draw():
        return items.class_counts({"train": [3, 1], "test": [1, 2]}, ["a", "b"])

    first = style.save(draw(), tmp_path / "one" / "figure")
    second = style.save(draw(), tmp_path / "two" / "figure")
    assert [path.name for path in first] == ["figure.png", "figure.svg", "figure.pdf"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    third = style.save(draw(), tmp_path / "three" / "figure", pdf=False)
    assert [p.read_bytes() for p in third] == [p.read_bytes() for p in first[:2]]
    style.save(draw(), tmp_path / "one" / "figure", pdf=False)
    assert not first[2].exists()  # it would show older numbers
    assert imread(first[0]).shape[2] == 4
    assert ET.parse(first[1]).getroot().tag.endswith("svg")


def differences():
    """Rows of the table `properties`: one property is unknown of all nodules of the class."""
    row = {"difference": 0.5, "low": 0.4, "high": 0.7, "random": 2.0, "class_random": 0.6}
    unknown = row | {"difference": None, "low": None, "high": None, "class_random": None}
    return [
        {"ranking": ranking, "property": name, **values}
        for ranking in ("two_stage", "softmax", "pixels", "chance")
        for name, values in (("texture", row), ("a column of its own", unknown))
    ]


def all_figures():
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 1, 11)
    precision = {"recall": grid, **{name: 1 - grid * rng.random() for name in ranking_names()}}
    precision |= {
        "worst/hamming": precision["hamming"] / 2,
        "best/hamming": precision["hamming"],
    }
    pools = {
        "threshold": np.arange(1, 10),
        "precision": np.linspace(0.9, 0.2, 9),
        "recall": np.linspace(0.1, 1, 9),
        "mean_size": np.linspace(1, 50, 9),
        "empty_share": np.linspace(0.5, 0, 9),
        "neighbours_kept": np.linspace(0, 1, 9),
    }
    timed = [{"threshold": 3, "neighbours_kept": 0.25, "seconds_per_query": 1e-3}]
    matrix = rng.random((8, 8)) * 20
    matrix[3] = np.nan
    line = (panels.Shown(IMAGE, 3, 7.0, "s"), [panels.Shown(IMAGE, 2, 5.0, "t", hamming=1)], "n")
    mask = np.zeros((16, 16), bool)
    mask[4:9, 3:8] = True
    rows = [
        {"kind": "train", "step": i, "epoch": i / 4, "loss": 1 / (i + 1), "accuracy": i / 9}
        for i in range(9)
    ] + [{"kind": "val", "step": 8, "epoch": 2, "accuracy": 0.5, "map_macro": None}]
    labels = np.repeat(np.arange(8), 2)
    return {
        "precision_recall": rankings.precision_recall(precision, pool=(0.3, 0.8)),
        "pools": codes.pools(pools, threshold=3, items=50),
        "baselines": rankings.baselines(
            {**{name: rng.random() for name in ranking_names()}, "fc2": None},
            {"two_stage": (0.2, 0.4), "chance": None},
            measure="mAP",
        ),
        "lookups": codes.lookups({"hamming": pools, "itq_fc1": pools}),
        "efficiency": codes.efficiency(pools, timed, items=50),
        "efficiency_untimed": codes.efficiency(pools, [], items=50),
        "class_hamming": codes.class_hamming(matrix, CLASS_NAMES),
        "map": rankings.embedding_map(
            rng.normal(size=(30, 2)),
            np.arange(30) % 8,
            rng.normal(size=(9, 2)),
            np.arange(9) % 3,
            np.array([0.5, 0.2]),
            CLASS_NAMES,
            feature="FC1",
        ),
        "map_of_a_line": rankings.embedding_map(
            rng.normal(size=(5, 1)),
            np.zeros(5, int),
            rng.normal(size=(2, 1)),
            np.zeros(2, int),
            np.ones(1),
            ["a"],
            feature="FC1",
        ),
        "errors": panels.error_sheet([line, (line[0], [], "empty")], class_names=CLASS_NAMES),
        "confusion": rankings.confusion(rng.integers(0, 9, (8, 8)), CLASS_NAMES),
        "coverage": lungs.coverage(
            rng.random(20) * 20, {"threshold": rng.random(20), "unet": rng.random(20)}
        ),
        "counts": items.class_counts({"train": [4] * 8, "test": [1] * 8}, CLASS_NAMES),
        "similarity": similarity.differences(differences(), k=10),
        "training": curves.training_curves(rows),
        "samples": items.sample_sheet(np.stack([IMAGE] * 16), labels, labels * 3.0, CLASS_NAMES),
        "masks": lungs.mask_examples([IMAGE] * 5, [mask] * 5, [~mask] * 5, titles=["a"] * 5),
        "masks_without_unet": lungs.mask_examples([IMAGE], [np.zeros_like(mask)]),
    }


@pytest.mark.filterwarnings("error")
def test_every_figure_is_drawn_without_a_warning():
    for name, figure in all_figures().items():
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())
        assert pixels[..., :3].std() > 5, f"{name} is blank"


NAMES = {
    **{
        "dollar": "p$^$0",
        "mathematics": r"$\frac{1}{x_i}$",
        "one dollar": "$5",
        "escaped": r"\$x\$",
    },
    **{
        "escaped": r"\$x\$",
        "TeX": r"\textbf{a}",
        "underscore": "_a_b",
        "percent": "%d{0}",
        "markup": "<b>&amp;</b>",
    },
    **{"Chinese": "\u80ba\u7ed3\u8282", "Arabic": "\u0631\u0626\u0629", "emoji": "\U0001fac1"},
    **{"tab": "a\tb", "lines": "a\nb\r\nc", "not UTF-8": "a\udcff", "backwards": "a\u202eb"},
    **{"decomposed": "u\u0308", "null": "a\0b", "long": "x" * 300},
}


def named_figures():
    """Figures that show names from the data, with all of `NAMES`."""
    names, count = list(NAMES.values()), len(NAMES)
    found = [panels.Shown(IMAGE, i, 5.0, name, hamming=i) for i, name in enumerate(names)]
    query = panels.Shown(IMAGE, 0, 7.0, names[0])
    row = {"difference": 0.5, "low": 0.4, "high": 0.7, "random": 2.0, "class_random": 0.6}
    rows = [
        {"ranking": ranking, "property": name, **row}
        for ranking in ("two_stage", "chance")
        for name in names
    ]
    labels = np.arange(count)
    points = np.random.default_rng(0).normal(size=(count, 2))
    return {
        "search": panels.search_panel(query, found, class_names=names, title=" ".join(names[:9])),
        "errors": panels.error_sheet([(query, found, "note")], class_names=names),
        "confusion": rankings.confusion(np.eye(count, dtype=int), names),
        "map": rankings.embedding_map(
            points, labels, points, labels, np.array([0.5, 0.2]), names, feature="FC1"
        ),
        "samples": items.sample_sheet(np.stack([IMAGE] * count), labels, labels * 1.0, names),
        "masks": lungs.mask_examples([IMAGE] * 8, [IMAGE > 99] * 8, titles=names[:8]),
        "similarity": similarity.differences(rows, k=10),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", list(named_figures()))
def test_names_are_shown_as_they_are(kind, tmp_path):
    """No name is read as mathematics, TeX or markup, stops a figure, or vanishes from it."""
    figure = named_figures()[kind]
    paths = style.save(figure, tmp_path / kind, dpi=20)
    assert ET.parse(paths[1]).getroot().tag.endswith("svg")
    shown = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() or text.get_usetex() for text in shown)
    for name in list(NAMES.values())[: 8 if kind == "masks" else None]:
        forms = {name, panels.short(name), name.replace("_", " "), name[:30] + "…"}
        seen = any(form in text.get_text() for text in shown for form in forms)
        assert seen or not name.isprintable(), (kind, name)


def test_a_dollar_is_drawn():
    """The drawn width is that of all characters, dollars included."""
    figure, axes = style.sheet(8, 1, "")
    whole, *parts = (axes.text(0, 0, text) for text in ("$x^2$", *"$x^2$".replace("$", "S")))
    figure.canvas.draw()
    width = sum(part.get_window_extent().width for part in parts)
    assert whole.get_window_extent().width == pytest.approx(width, rel=0.1)


def test_every_plot_names_its_axes():
    drawn = all_figures()
    sheets = ("samples", "masks", "masks_without_unet", "errors")  # of images
    for name in drawn.keys() - sheets:
        for axes in drawn[name].axes:
            if axes.get_label() == "<colorbar>":
                continue
            assert axes.get_xlabel(), name
            if name == "baselines":  # the names of the rankings say what the axis is
                titles = {vocabulary.ranking(ranking).title for ranking in ranking_names()}
                assert {tick.get_text() for tick in axes.get_yticklabels()} <= titles
                assert not axes.get_ylabel()
            else:
                assert axes.get_ylabel(), name


def test_missing_values_are_left_out_of_training_curves():
    figure = curves.training_curves([{"kind": "val", "step": 1, "dice": 0.9}, {"step": 2}])
    assert [axes.get_ylabel() for axes in figure.axes] == ["Dice"]
    curves.training_curves([]).canvas.draw()


def test_no_global_state_of_pyplot():
    names = ", ".join(module.name for module in pkgutil.iter_modules(figures.__path__))
    code = f"import sys; from inres.figures import {names}; "
    code += "sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_code_of_a_lookup_has_its_own_line_style():
    kinds = ("hamming", "latent", "alone", "itq_fc1", "lsh_fc1", "itq_pixels", "lsh_pixels")
    at = np.linspace(0.1, 0.9, 4)
    sweep = {"recall": at, "precision": at, "empty_share": at, "threshold": np.arange(1, 5)}
    figure = codes.lookups({name: sweep for name in kinds})
    assert len({line.get_color() for line in figure.axes[0].lines}) == len(kinds)


def test_differences_are_relative_to_a_random_order():
    axes = similarity.differences(differences(), k=10).axes[0]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in "Ds^|"]
    assert sorted(points) == [0.25, 0.25, 0.25, 0.3]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["texture", "a column of its own"]


@pytest.mark.parametrize("fields", [1, 6])
def test_names_of_variants_do_not_overlap(fields):
    setting = ", ".join(f"search.features{field}=of_a_network" for field in range(fields))
    names = [f"{setting}, loss.weight={number}" for number in range(9)]
    points = {name: (0.5, 0.4, 0.6) for name in names}
    figure = studies.variants(names, {"two-stage search": points}, title="losses", x="macro mAP")
    figure.canvas.draw()
    places = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(places))
