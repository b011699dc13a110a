"""Files of an evaluation, and the report in a real browser."""

import csv
import dataclasses
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from inres import config, vocabulary
from inres.data import leaks
from inres.data.item_table import write_table
from inres.data.items import Item, size_class
from inres.evaluation import baselines
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.figures import style
from inres.figures.lungs import mask_examples
from inres.pipeline.assess import assess
from inres.report import results
from inres.report.build import build_report
from inres.report.sections import similarity as similarity_section
from inres.system import files
from inres.vocabulary import CLASS_NAMES, SIZE_CLASSES, ranking_names

FIRST_ITEM = {"q": 1000, "g": 2000}
"""Row of the first query and of the first archived item in the item table."""
NASTY = "<script>alert('scan')</script>&\"x\""


def side(rng, n, prefix, *, classes=8, diameters=True):
    """Items of all classes with images, and codes and features that depend on the class."""
    if classes == 8:
        millimetres = np.where(rng.random(n) < 0.3, 0.0, rng.uniform(3, 30, n))
        labels = size_class(millimetres)
    else:
        labels = rng.integers(0, classes, n).astype(np.int32)
        millimetres = np.full(n, np.nan)
    images = rng.integers(0, 256, (n, 12, 12)).astype(np.uint8)
    bits = (np.arange(16) % 8 == labels[:, None]) ^ (rng.random((n, 16)) < 0.05)
    logits = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[labels]
    fc1 = rng.normal(size=(n, 6)) + labels[:, None]
    return (
        Embedded(
            labels,
            np.array([f"{prefix}{i % 4}{NASTY if i == 0 else ''}" for i in range(n)]),
            millimetres if diameters else np.full(n, np.nan),
            bits,
            {
                "fc1": fc1.astype(np.float32),
                "fc2": bits.astype(np.float32),
                "fc3": logits.astype(np.float32),
                "fc1_fc3": np.concatenate([fc1, logits], axis=1).astype(np.float32),
                "joined": np.concatenate([logits, fc1], axis=1).astype(np.float32),
                "images": np.concatenate([logits, 2 * fc1], axis=1).astype(np.float32),
                "pixels": images.reshape(n, -1),
                "hog": baselines.hog(images),
            },
            np.array([f"{prefix}/{i}" for i in range(n)]),
            {
                name: bits ^ (rng.random((n, 16)) < 0.05)
                for name in ("images_code", "latent", "alone")
            },
            malignancy=rng.integers(1, 6, n).astype(float) if diameters else None,
            nodules=np.array([f"{prefix}/n{i}" for i in range(n)]),
            items=FIRST_ITEM[prefix] + np.arange(n),
            properties={
                "diameter_mm": millimetres,
                "texture": np.where(rng.random(n) < 0.2, np.nan, rng.integers(1, 6, n)),
                "<b>own</b>": labels + rng.random(n),
            }
            if diameters
            else None,
        ),
        images,
    )


def write_run(workdir, *, classes=8, lungs=True, seed=0):
    """A workdir with the files of all stages, or that of a folder of crops (`lungs=False`)."""
    rng = np.random.default_rng(seed)
    queries, query_images = side(rng, 30, "q", classes=classes)
    gallery, gallery_images = side(rng, 80, "g", classes=classes)
    queries, gallery = baselines.with_codes(
        queries,
        gallery,
        fitted=np.arange(80) < 60,
        bits=16,
        seed=0,
        sources=("fc1", "pixels"),
    )
    found = assess(
        queries,
        gallery,
        Settings(classes=classes, threshold=3),
        class_names=CLASS_NAMES if classes == 8 else ("no nodule", "nodule"),
        names=queries.names,
        patients=queries.scans,
    )
    if not lungs:
        found = dataclasses.replace(found, intervals={})
    timed = {"threshold": 3, "mean_pool": 4.5, "neighbours_kept": 0.5, "seconds_per_query": 2e-3}
    counts = {
        "train": np.bincount(gallery.labels, minlength=classes).tolist(),
        "test": np.bincount(queries.labels, minlength=classes).tolist(),
    }
    results.write_evaluation(
        found,
        workdir / "evaluation",
        dataset=counts,
        segmentation={"dice": 0.97, "iou": 0.94} if lungs else None,
        images=(query_images, gallery_images),
        efficiency=[timed] if lungs else None,
        pdf=False,
    )
    if not lungs:
        return found, counts
    files.write_json(workdir / "config.json", config.to_dict(config.Config(name=NASTY, pdf=False)))
    files.write_json(workdir / "environment.json", {"python": "3", "machine": NASTY})
    leaking = [Item("", "s", str(i), 1, 4.0) for i in range(2)]
    sides, slices = np.array(["train", "test"]), rng.integers(0, 256, (2, 32, 32), np.uint8)
    files.write_json(workdir / "split" / "leaks.json", leaks.examine(leaking, sides, slices))
    write_table(workdir / "prepare" / "items.csv", [Item("", NASTY, "n", 1, 4.0)])
    files.write_json(workdir / "segment" / "metrics.json", {"dice": 0.97, "iou": 0.94})
    audit = [
        {"scan": NASTY, "nodule": NASTY, "diameter_mm": 5, "threshold": 0.1, "repaired": 0.9},
        {"scan": "b", "nodule": "kept", "diameter_mm": 9, "threshold": 1.0, "repaired": 1.0},
    ]
    files.write_csv(workdir / "segment" / "audit.csv", [*audit[0], "luna16"], audit)
    mask = np.pad(np.ones((4, 4), bool), 4)
    style.save(mask_examples([query_images[0]], [mask], [mask]), workdir / "segment" / "examples")
    rows = [{"kind": "train", "step": i, "epoch": i / 2, "loss": 1.0 / (i + 1)} for i in range(5)]
    lines = [json.dumps(row) for row in rows] + ['{"kind": "tr']  # cut short by an interruption
    files.write_text(workdir / "train" / "log.jsonl", "\n".join(lines))
    files.write_json(workdir / "train" / "summary.json", {"seconds": 12.5, "by": {"a": 1}})
    return found, counts


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("full")
    return workdir, *write_run(workdir)


@pytest.fixture(scope="module")
def full(written):
    workdir, found, counts = written
    return workdir, found.evaluation, counts, build_report(workdir).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of crops: two classes, no diameters, no scans, no logs, empty figures."""
    workdir = tmp_path_factory.mktemp("folder")
    nothing = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="6"/>'

    def blank(figure, stem, **_):
        kinds = (".png", ".svg", ".pdf")
        return [files.write_text(Path(f"{stem}{kind}"), nothing) for kind in kinds]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", blank)
        write_run(workdir, classes=2, lungs=False)
        return workdir, build_report(workdir).read_text(encoding="utf-8")


def test_a_leaking_split_is_reported_with_the_scores(full):
    text = full[3]
    note = "1 of 1 test items have their scan in training or validation"
    assert note in text
    assert text.index(note) < text.index('class="cards"')


def test_metrics_have_the_documented_keys_and_are_strict_json(full):
    workdir, found, counts, _ = full
    text = (workdir / "evaluation" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert metrics["dataset"]["train"] == {str(i): n for i, n in enumerate(counts["train"])}
    assert metrics["segmentation"] == {"dice": 0.97, "iou": 0.94}
    assert set(metrics["pool"]) == {
        *("mean_size", "mean_share", "empty_share", "mean_threshold", "neighbours_kept"),
    }
    assert metrics["paper"] == {"search_precision": found.paper["search_precision"]}
    assert {"accuracy", "macro_recall", "per_class"} == set(metrics["classification"])
    assert list(metrics["rankings"]) == [n for n in ranking_names() if "embedding" not in n]
    assert metrics["rankings"] == found.rankings
    assert metrics["lookup"] == found.lookup
    assert metrics["codes"].keys() == {"hamming", *found.lookup}
    assert metrics["efficiency"][0]["seconds_per_query"] == 2e-3
    ends = metrics["intervals"]["rankings"]["two_stage"]["map_macro"]
    assert ends[0] <= metrics["rankings"]["two_stage"]["map_macro"] <= ends[1]
    assert metrics["intervals"]["patients"] == 5  # four scans, and one with a nasty name
    margin = metrics["intervals"]["margins"]["pixels"]["map_macro"]
    assert margin["value"] == pytest.approx(
        metrics["rankings"]["two_stage"]["map_macro"] - metrics["rankings"]["pixels"]["map_macro"]
    )


def test_unknown_diameters_are_null(folder):
    metrics = files.read_json(folder[0] / "evaluation" / "metrics.json")
    assert all(row["diameter_error_mm_at_10"] is None for row in metrics["rankings"].values())
    assert metrics["segmentation"] is None


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_contain_the_paper_s_numbers(full):
    workdir, found, counts, _ = full
    table2 = rows_of(workdir / "evaluation" / "table2.csv")
    assert [row["name"] for row in table2] == list(CLASS_NAMES)
    assert [int(row["paper"]) for row in table2] == [1000, 270, 232, 276, 234, 100, 55, 19]
    assert [int(row["train"]) for row in table2] == counts["train"]
    table3 = rows_of(workdir / "evaluation" / "table3.csv")
    assert [float(row["paper"]) for row in table3] == [
        *(0.846, 0.775, 0.765, 0.738, 0.767, 0.657, 0.521, 0.52)
    ]
    assert float(table3[0]["recall"]) == found.classification["per_class"][0]["recall"]
    rankings = rows_of(workdir / "evaluation" / "rankings.csv")
    assert [row["ranking"] for row in rankings] == list(found.rankings)
    assert float(rankings[0]["map_macro"]) == found.rankings["two_stage"]["map_macro"]
    for name in ("table2", "table3", "rankings", "margins", "codes", "lookup", "efficiency"):
        text = (workdir / "evaluation" / f"{name}.tex").read_text()
        assert text.startswith("\\begin{tabular}")
        assert len(rows_of(workdir / "evaluation" / f"{name}.csv")) == text.count("\\\\") - 1


def test_every_image_of_a_gallery_has_its_provenance(full):
    workdir, found, _, _ = full
    rows = rows_of(workdir / "evaluation" / "galleries.csv")
    shown = [row for row in rows if row["figure"] == "query_nodule"]
    query = int(shown[0]["name"].split("/")[1])
    expected = [f"g/{i}" for i in found.top[query] if i >= 0]
    assert [row["name"] for row in shown[1:]] == expected
    assert [row["rank"] for row in shown] == [str(i) for i in range(len(expected) + 1)]
    for row in rows:
        side, item = row["name"].split("/")
        assert row["nodule"] == f"{side}/n{item}"
        assert int(row["item"]) == FIRST_ITEM[side] + int(item)
        assert row["scan"].startswith(side)
    page = full[3]
    assert page.count("Where these images come from") == len({row["figure"] for row in rows})
    for row in shown:
        cells = (row["item"], row["name"], row["nodule"])
        assert "".join(f'<td class="text">{cell}</td>' for cell in cells) in page


def test_origins_without_any_value_have_no_column(full, tmp_path):
    shutil.copytree(full[0], tmp_path / "run")
    path = tmp_path / "run" / "evaluation" / "galleries.csv"
    rows = [{k: v for k, v in row.items() if k != "item"} for row in rows_of(path)]
    rows = [{**row, "name": row["nodule"]} for row in rows]  # no files, and an older run
    files.write_csv(path, list(rows[0]), rows)
    page = build_report(tmp_path / "run").read_text(encoding="utf-8")
    for heading in (">item</abbr>", '<th class="text">file</th>'):
        assert heading in full[3]
        assert heading not in page
    assert f'<td class="text">{rows[0]["nodule"]}</td>' in page


def test_the_error_gallery_shows_the_worst_queries(full):
    workdir, found, _, _ = full
    rows = [r for r in rows_of(workdir / "evaluation" / "galleries.csv") if r["figure"] == "errors"]
    scores = found.per_query["two_stage"]["average_precision"]
    shown = [row for row in rows if row["rank"] == "0"]
    queries = [int(row["query"]) for row in shown]
    assert queries[0] == np.nanargmin(scores)
    assert list(scores[queries]) == sorted(scores[queries])
    assert len({row["scan"] for row in shown}) == len(shown)  # one per scan


class _Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.errors = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(tag)


def parsed(page):
    parser = _Parser()
    parser.feed(page)
    assert not parser.errors
    assert not parser.open
    return parser.tags


def test_the_report_is_one_file_and_loads_nothing(full, folder):
    for page in (full[3], folder[1]):
        tags = parsed(page)
        for tag, attributes in tags:
            for name in ("src", "href"):
                value = attributes.get(name)
                assert value is None or value.startswith(("data:", "#")), f"{tag} {name}"
        assert not {"script", "iframe", "object"} & {tag for tag, _ in tags}
        styles = re.findall(r"<style>(.*?)</style>", page, re.S)
        assert not any("url(" in style or "@import" in style for style in styles)
        targets = {a["id"] for _, a in tags if "id" in a}
        links = {a["href"][1:] for t, a in tags if t == "a"}
        assert links
        assert links <= targets


def test_similarity_has_its_section_tables_and_figure(full):
    workdir, found, _, page = full
    metrics = files.read_json(workdir / "evaluation" / "metrics.json")
    rows = {(row["ranking"], row["property"]): row for row in metrics["properties"]}
    assert len(rows) == len(metrics["properties"]) == 3 * len(found.rankings)
    text = page[page.index('id="similarity"') : page.index('id="search"')]
    for name in ("texture", "diameter_mm", "<b>own</b>"):
        row = rows["two_stage", name]
        values = found.per_query["two_stage"][f"difference_{name}"]
        assert row["difference"] == pytest.approx(np.nanmean(values))
        for number in ("difference", "random", "class_random"):
            assert f"{row[number]:.2f}" in text
    # The third property follows the class: results are closer than in a random order.
    assert (
        rows["two_stage", "<b>own</b>"]["difference"] < rows["chance", "<b>own</b>"]["difference"]
    )
    overall = {row["ranking"]: row for row in metrics["similarity"]}
    for name, numbers in found.rankings.items():
        assert overall[name]["similarity"] == pytest.approx(numbers["similarity_at_10"])
    assert f"{overall['two_stage']['similarity']:.3f}" in text
    assert text.count("<figure") == 1
    for name, count in (("properties", len(rows)), ("similarity", len(overall))):
        assert len(rows_of(workdir / "evaluation" / f"{name}.csv")) == count
        assert (workdir / "evaluation" / f"{name}.tex").is_file()


def test_better_and_worse_than_the_class_are_marked():
    row = {"p_value": 0.01, "margin": -0.2}
    difference, similarity = (vocabulary.metric(n) for n in ("difference_texture", "similarity"))
    assert similarity_section._verdict(row, difference) == "better"
    assert similarity_section._verdict(row, similarity) == "worse"
    assert similarity_section._verdict({**row, "p_value": 0.06}, difference) == ""
    assert similarity_section._verdict({"p_value": None, "margin": None}, difference) == ""


def test_text_of_the_data_is_escaped(full):
    page = full[3]
    assert "<b>own</b>" not in page
    assert NASTY not in page
    assert "alert(&#x27;scan&#x27;)" in page


def test_the_report_contains_the_numbers(full):
    _, found, _, page = full
    assert f"{found.paper['search_precision']:.2f}</div>" in page
    intervals = files.read_json(full[0] / "evaluation" / "metrics.json")["intervals"]
    low, high = intervals["rankings"]["two_stage"]["map_macro"]
    ends = f"{low:.3f} to {high:.3f}".replace(" ", "\N{NO-BREAK SPACE}")
    assert f"95\N{NO-BREAK SPACE}%: {ends}" in page
    assert f"{intervals['margins']['chance']['map_macro']['value']:+.3f}" in page
    assert "paper 0.73, on LUNA16 and a leaking split" in page
    assert "The paper reports 73 %, on LUNA16 and a leaking split." in page
    assert "The paper's scores were measured on LUNA16" in page
    for row in found.rankings.values():
        assert f"{row['map_macro']:.3f}" in page
    for name in ("two-stage search", "Hamming distance", "raw pixels", "chance"):
        assert name in page
    assert "1 nodule lost by at least one of the masks" in page
    for one in SIZE_CLASSES:
        assert f"<td>{one.paper_score:.1f}</td>" in page


def test_missing_parts_are_left_out_with_a_sentence(folder):
    page = folder[1]
    for sentence in (
        "No lung segmentation was run",
        "There is no audit",
        "There is no training log",
        "Diameters are unknown for this data",
        "Neither config nor environment",
        "No intervals were computed",
    ):
        assert sentence in page, sentence
    assert "paper 0.73" not in page
    assert "LUNA16" not in page
    assert "paper's score" not in page


def test_the_papers_split_is_flagged(full, tmp_path):
    shutil.copytree(full[0], tmp_path / "run")
    values = config.to_dict(config.Config())
    values["split"]["kind"] = "slices"
    files.write_json(tmp_path / "run" / "config.json", values)
    page = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "scores are too high" in page
    assert "scores are too high" not in full[3]


def test_the_same_run_gives_the_same_report(full):
    assert build_report(full[0]).read_text(encoding="utf-8") == full[3]


def test_bad_input_is_refused_by_name(tmp_path, full):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json: no such file; run the evaluation"):
        build_report(tmp_path)
    shutil.copytree(full[0], tmp_path / "run")
    (tmp_path / "run" / "train" / "log.jsonl").write_text('{"kind"\n{}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl: line 1"):
        build_report(tmp_path / "run")
    rng = np.random.default_rng(0)
    items, images = side(rng, 20, "q")
    found = assess(
        items,
        items,
        Settings(classes=8, threshold=3),
        class_names=CLASS_NAMES,
        names=items.names,
        patients=items.scans,
    )
    arguments = {"dataset": {"test": [1] * 8}, "images": (images, images)}
    for name, value, message in (
        ("images", (images[:3], images), r"images of the queries must be uint8 \[20, S, S\]"),
        ("images", (images, images / 255), "images of the gallery must be uint8"),
        ("dataset", {"test": [1]}, "has 1 counts for 8 names"),
    ):
        with pytest.raises(ValueError, match=message):
            results.write_evaluation(found, tmp_path / "out", **(arguments | {name: value}))
    assert not (tmp_path / "out").exists()


# --- a real browser ---------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FRAME = """<!doctype html><body style="margin:0">
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener('load', () => {{
  const inside = document.querySelector('iframe').contentDocument;
  for (const d of inside.querySelectorAll('details')) d.open = true;
  const images = [...inside.images];
  document.documentElement.dataset.probe = JSON.stringify({{
    images: images.length,
    blank: images.filter(i => !i.complete || !i.naturalWidth || !i.clientWidth).length,
    overflow: inside.documentElement.scrollWidth - {width},
    spilt: [...inside.querySelectorAll('.card,.cards,h1,h2,nav,summary,figcaption,.note')]
      .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent),
    background: inside.defaultView.getComputedStyle(inside.body).backgroundColor}});
}});
</script>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Open a page in headless Chromium, in a frame of given width (windows have a minimum width).

    Returns what a script outside the frame measured, and the browser's log.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)})")

    def see(page, width, *flags):
        folder = tmp_path_factory.mktemp("browser")
        path = Path(folder) / "report.html"
        frame = FRAME.format(width=width, page=html.escape(page, quote=True))
        path.write_text(frame, encoding="utf-8")
        command = [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=10000", f"--window-size={max(width, 600)},1000", *flags),
            *("--dump-dom", path.as_uri()),
        ]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=120, check=True
        )
        found = re.search(r'data-probe="([^"]*)"', done.stdout)
        assert found, done.stderr[-2000:]
        return json.loads(html.unescape(found.group(1))), done.stderr

    return see


def test_the_browser_finds_a_fault(browse):
    page = """<body style="width:900px"><img src="data:image/png;base64,AAAA">
    <script>console.error("seen")</script></body>"""
    seen, log = browse(page, 400)
    assert seen["images"] == seen["blank"] == 1
    assert seen["overflow"] > 0
    assert "CONSOLE" in log


@pytest.mark.parametrize("look", ["", "body{letter-spacing:.25em}"], ids=["given", "wide font"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_draws_every_figure_without_an_error(browse, full, folder, width, look):
    for page in (full[3], folder[1]):
        seen, log = browse(page.replace("</head>", f"<style>{look}</style></head>"), width)
        assert seen["images"] == page.count("<img") > 5
        assert seen["blank"] == 0
        assert seen["overflow"] <= 0, "the page must not scroll sideways"
        assert not seen["spilt"]
        assert "CONSOLE" not in log, log


def test_dark_and_light_follow_the_reader(browse, full):
    light, _ = browse(full[3], 800, "--blink-settings=preferredColorScheme=1")
    dark, _ = browse(full[3], 800, "--blink-settings=preferredColorScheme=0")
    assert light["background"] == "rgb(246, 247, 249)"
    assert dark["background"] == "rgb(18, 22, 27)"


def test_the_headline_names_the_queries_that_found_nothing(full, tmp_path):
    shutil.copytree(full[0], tmp_path / "run")
    path = tmp_path / "run" / "evaluation" / "metrics.json"
    metrics = files.read_json(path)

    def page(empty_share):
        metrics["pool"]["empty_share"] = empty_share
        files.write_json(path, metrics)
        return build_report(tmp_path / "run").read_text(encoding="utf-8")

    # Once in the first sentences, once on the card of the search precision.
    assert page(0.614).count("61 % of queries found nothing and count as 0") == 2
    assert "found nothing" not in page(0.0)


def test_the_order_within_a_class_is_printed_with_its_unit(written):
    _, found, _ = written
    lines = [line for line in results.in_words(found).splitlines() if "within a class" in line]
    rows = {r["measure"]: r for r in found.within_class if r["ranking"] == "two_stage"}
    error, agreement = (rows[name] for name in ("diameter_error_mm", "malignancy_agreement"))
    assert len(lines) == len(rows)
    assert lines[0] == (
        f"  within a class, diameter error: {error['value']:.2f} mm "
        f"(random order: {error['random']:.2f} mm), p = {error['p_value']:.2g}"
    )
    assert any(f"malignancy agreement: {agreement['value']:.3f} (random" in line for line in lines)


def test_matched_slices_are_printed_in_words(written):
    _, found, _ = written
    row = {"ranking": "two_stage", "measure": "matched_slices", "value": 0.0512, "random": 0.5}
    found = dataclasses.replace(found, within_class=[{**row, "p_value": 0.0004}])
    assert results.in_words(found).splitlines()[-1] == (
        "  within a class, share ranked before another slice of the same nodule: 0.051 "
        "(random order: 0.500), p = 0.0004"
    )
