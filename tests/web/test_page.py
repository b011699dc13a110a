"""The page in a browser: a scan from upload to results, and all that leads elsewhere from there."""

import csv
import io
import json
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import chest_image
from web.browser import (
    PHONE,
    Watched,
    grey_of,
    has_no_horizontal_scrolling,
    launched,
    serving,
    violations,
)

from inres.phantoms.dicom_series import Series, write_series
from inres.phantoms.scan import Scan
from inres.web.app import make_app
from inres.web.settings import Settings

NODULE = (-60.0, 0.0, 10.0)
SPACING = (3.2, 3.2, 2.5)


@pytest.fixture(scope="module")
def browser():
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def root(small):
    return small.root


@pytest.fixture(scope="module")
def address(browser, archive, root, tmp_path_factory):
    settings = Settings(roots={"tree": (root / "tree").resolve()}, warm_up=False)
    folder = tmp_path_factory.mktemp("uploads")
    with serving(make_app(archive, settings, name="chests", temporary=folder)) as url:
        yield url


@pytest.fixture
def watched(browser, address):
    pages = Watched(browser, address)
    yield pages
    pages.close()


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A DICOM series of the small chest."""
    image, labels = chest_image([(*NODULE, 14)], spacing=SPACING, seed=7)
    scan = Scan(
        uid="1.2.3",
        hu=sitk.GetArrayFromImage(image),
        lungs=sitk.GetArrayFromImage(labels),
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=image.GetDirection(),
        annotations=(),
        excluded=(),
    )
    about = Series(patient="<img src=x>", series_uid=scan.uid, study_uid="1.2")
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(folder, scan, about)
    return sorted(folder.iterdir())


def link(query, options=None, **view):
    text = json.dumps({"query": query, "options": options or {}, "view": view})
    return "#q=" + urllib.parse.quote(text)


def at_nodule(scan="a"):
    path = "tree/subset2/a.mhd" if scan == "a" else "tree/subset0/b.mhd"
    return link({"path": path, "world_mm": list(NODULE)})


def items(page):
    """The items of the results that are shown."""
    return page.eval_on_selector_all(".hit", "rows => rows.map(row => Number(row.dataset.item))")


def wait_for_results(page):
    page.wait_for_selector(".hit")
    page.wait_for_selector("#results[aria-busy=false]")


def wait_for_items(page, wanted):
    """Wait until the results are those of a search by the library."""
    expected = [hit.record["item"] for hit in wanted]
    page.wait_for_function(
        """wanted => {
          const found = [...document.querySelectorAll('.hit')].map(row => Number(row.dataset.item));
          return JSON.stringify(found) === JSON.stringify(wanted);
        }""",
        arg=expected,
    )


def slice_of(page):
    """The slice whose picture is shown, from 1, and how many there are."""
    words = page.inner_text("#at-bottom-left").split()
    return int(words[1]), int(words[3])


def wait_for_slice(page, number):
    page.wait_for_function(
        "n => document.querySelector('#at-bottom-left').innerText.startsWith(`Slice ${n} /`)",
        arg=number,
    )


def place_of(page):
    return [
        float(part)
        for part in page.input_value("#go-to-text").replace("\N{MINUS SIGN}", "-").split(",")
    ]


# --- a scan ---------------------------------------------------------------------------------------


def test_an_uploaded_series_is_scrolled_clicked_and_searched(watched, archive, series):
    page = watched.open()
    page.click("#tab-upload")
    with page.expect_file_chooser() as chooser:
        page.click("#pick-files")
    chooser.value.set_files(series)
    page.wait_for_selector("#viewport:visible")
    wait_for_slice(page, 41)  # the middle one
    assert slice_of(page) == (41, 80)
    assert grey_of(page, "#viewer-canvas") > 10
    assert "Choose a place" in page.inner_text("#result-message")

    page.hover("#viewport")
    page.mouse.wheel(0, -100)
    wait_for_slice(page, 42)
    for key, number in [("ArrowDown", 41), ("PageDown", 31), ("End", 80), ("Home", 1)]:
        page.focus("#viewport")
        page.keyboard.press(key)
        wait_for_slice(page, number)
    page.fill("#slice-slider", "44")
    wait_for_slice(page, 45)

    # The nodule is at a known part of the picture, which shows all of the slice in the middle.
    box = page.locator("#viewport").bounding_box()
    scale = min(box["width"] / (101 * 3.2), box["height"] / (90 * 3.2))  # 101 x 90 pixels
    x = box["x"] + box["width"] / 2 + NODULE[0] * scale
    page.mouse.click(x, box["y"] + box["height"] / 2 + (NODULE[1] - 10) * scale)
    wait_for_results(page)
    np.testing.assert_allclose(place_of(page), (*NODULE[:2], 11.25), atol=1.5)
    rows = page.locator(".hit").all_inner_texts()
    assert rows
    assert "Hamming" in rows[0]
    assert "Distance" in rows[0]
    assert "predicted class" in page.inner_text("#query-row")
    assert "in the pool" in page.inner_text("#pool-text")


def test_results_are_those_of_the_library_and_follow_the_place(watched, archive, root):
    page = watched.open(at_nodule())
    path = root / "tree" / "subset2" / "a.mhd"
    wait_for_items(page, archive.search_scan(path, world_mm=NODULE))
    page.focus("#viewport")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    wait_for_results(page)
    moved = place_of(page)
    np.testing.assert_allclose(moved[0], NODULE[0] + 3 * 3.2, atol=0.1)
    page.fill("#go-to-text", "-60, 0, -40.0")
    page.keyboard.press("Enter")
    wait_for_items(page, archive.search_scan(path, world_mm=(-60, 0, -40)))
    page.fill("#go-to-text", "0, 0, 9000")
    page.keyboard.press("Enter")
    assert not page.eval_on_selector("#go-to-text", "field => field.checkValidity()")


def test_a_search_that_is_overtaken_is_cancelled(watched, archive):
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    page.evaluate(
        """() => {
          const real = window.fetch;
          window.cancelled = [];
          window.fetch = (url, options) => {
            options?.signal?.addEventListener('abort', () => window.cancelled.push(options.body));
            return real(url, options);
          };
        }"""
    )
    waiting = []
    page.route("**/api/search", lambda route: waiting.append(route))  # answered by nobody
    page.keyboard.press("f")
    page.check("#option-own-scan")
    page.wait_for_selector("#results[aria-busy=true]")
    page.wait_for_function("() => document.querySelector('#busy').classList.contains('on')")
    page.unroute("**/api/search")
    page.uncheck("#option-own-scan")
    page.check("#option-same-class")
    wait_for_items(page, archive.search_item(3, same_class=True))
    cancelled = [json.loads(body)["options"] for body in page.evaluate("() => window.cancelled")]
    assert {"own_scan": True} in cancelled


def test_the_window_is_switched_and_named_by_what_is_drawn(watched):
    page = watched.open(at_nodule())
    wait_for_results(page)
    page.wait_for_selector("#at-top-right >> text=Lung window")
    lung = grey_of(page, "#viewer-canvas")
    page.keyboard.press("w")
    page.wait_for_selector("#at-top-right >> text=Narrow window")
    narrow = grey_of(page, "#viewer-canvas")
    assert narrow < lung - 5  # lungs at -860 HU are black


def test_one_of_several_series_is_chosen(watched, tmp_path):
    for number, slices in enumerate((24, 30)):
        volume = np.full((slices, 40, 44), -1000, np.int16)
        volume[:, 4:36, 2:42] = 40
        volume[:, 8:32, 6:20] = volume[:, 8:32, 24:38] = -860
        scan = Scan(
            *(f"1.2.{number}", volume, volume, (6.0, 6.0, 5.0), (-130.0, -120.0, 0.0)),
            direction=(1, 0, 0, 0, 1, 0, 0, 0, 1),
            annotations=(),
            excluded=(),
        )
        about = Series(patient="p", series_uid=scan.uid, study_uid="1.2")
        write_series(tmp_path / "study" / str(number), scan, about)
    page = watched.open()
    page.click("#tab-upload")
    page.set_input_files("#folder-input", tmp_path / "study")
    page.wait_for_selector("#viewport:visible")
    page.wait_for_selector("#at-bottom-left >> text=Slice")
    assert slice_of(page)[1] == 30  # the longer one
    assert page.locator("#series option").count() == 2
    page.select_option("#series", "1.2.0")
    page.wait_for_selector("#at-bottom-left >> text=/ 24")
    assert page.input_value("#series") == "1.2.0"


# --- results --------------------------------------------------------------------------------------


def test_filters_leave_only_matching_results(watched, archive):
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    page.keyboard.press("f")
    page.click("#filter-classes label:first-child")  # normal
    wait_for_items(page, archive.search_item(3, where="label IN (0)"))
    assert "class normal" in page.inner_text("#active-filters")
    page.click("#active-filters button")
    wait_for_items(page, archive.search_item(3))

    page.fill("#filter-smallest", "5")
    wait_for_items(page, archive.search_item(3, where="diameter_mm >= 5"))
    page.fill("#filter-smallest", "")
    wait_for_items(page, archive.search_item(3))

    page.click("#filter-conditions >> text=Add condition")
    page.select_option("#filter-conditions .column", "kind")
    page.select_option("#filter-conditions .operator", "is")
    page.fill("#filter-conditions .value", "it's <solid>")
    wait_for_items(page, archive.search_item(3, where="kind = 'it''s <solid>'"))


def test_an_empty_pool_is_explained_and_widened(watched, archive):
    page = watched.open(link({"item": 3}, {"threshold": 1, "min_pool": 0, "where": "scan = 'a'"}))
    page.wait_for_selector("text=Nothing found")
    assert "below 1" in page.inner_text("#result-message")
    page.click("text=Widen the pool to 10 items")
    wait_for_items(page, archive.search_item(3, threshold=1, min_pool=10, where="scan = 'a'"))


def test_a_condition_that_is_wrong_is_explained(watched, archive):
    watched.allowed.append("400")
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    page.keyboard.press("f")
    page.click("#filters .sql summary")
    page.fill("#filter-sql", "colour = 'red'")
    page.wait_for_selector("#result-message .problem")
    assert "colour" in page.inner_text("#result-message")
    page.click("#result-message >> text=Remove the filters")
    wait_for_items(page, archive.search_item(3))


def test_options_of_the_search(watched, archive):
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    page.keyboard.press("f")
    page.fill("#option-k", "4")
    page.keyboard.press("Tab")
    wait_for_items(page, archive.search_item(3, k=4))
    page.check("#option-own-scan")
    wait_for_items(page, archive.search_item(3, k=4, own_scan=True))
    page.check("#option-distinct [value=scan]")
    wait_for_items(page, archive.search_item(3, k=4, own_scan=True, distinct="scan"))
    page.select_option("#pool-mode", "hamming")
    wanted = {"k": 4, "own_scan": True, "distinct": "scan", "rank": "hamming"}
    wait_for_items(page, archive.search_item(3, **wanted))
    page.click("#filters-reset")
    wait_for_items(page, archive.search_item(3))
    page.fill("#weight-texture", "2")
    wait_for_items(page, archive.search_item(3, weights={"texture": 2}))
    assert page.is_disabled("#pool-mode")


def test_a_result_opens_beside_the_query_and_scrolls_with_it(watched):
    page = watched.open(at_nodule())
    wait_for_results(page)
    page.keyboard.press("1")
    page.wait_for_selector("#pair-result-at >> text=Slice 2 / 3")
    assert page.inner_text("#detail-title").startswith("Result 1 of")
    for side in ("query", "result"):
        assert grey_of(page, f"#pair-{side}-canvas") > 10, side
    before = page.inner_text("#pair-query-at")
    page.hover("#pair-result")
    for _ in range(2):  # 2.5 mm each; the neighbours of the item are 5 mm away
        page.mouse.wheel(0, -100)
    page.wait_for_selector("#pair-result-at >> text=Slice 3 / 3")
    assert page.inner_text("#pair-query-at") != before
    assert page.inner_text("#pair-offset") == "+5.0 mm"
    assert page.locator("#detail-record tr").count() > 5
    assert "tree/" in page.inner_text("#detail-origin")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#detail-title >> text=Result 2 of")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    page.wait_for_selector(".hit[data-rank='2'] .thumb:focus")


def test_more_like_this_and_back(watched, archive):
    page = watched.open(link({"item": 3}))
    wait_for_items(page, archive.search_item(3))
    second = items(page)[1]
    page.click(".hit >> nth=1 >> text=More like this")
    wait_for_items(page, archive.search_item(second))
    page.wait_for_function("n => location.hash.includes(`%22item%22%3A${n}`)", arg=second)
    page.go_back()
    wait_for_items(page, archive.search_item(3))
    page.go_forward()
    wait_for_items(page, archive.search_item(second))


def test_a_link_restores_scan_place_slice_window_and_options(watched, archive, root):
    page = watched.open(at_nodule())
    wait_for_results(page)
    page.focus("#viewport")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("w")
    page.keyboard.press("f")
    page.fill("#filter-largest", "25")
    wanted = archive.search_scan(
        root / "tree" / "subset2" / "a.mhd", world_mm=NODULE, where="diameter_mm <= 25"
    )
    wait_for_items(page, wanted)
    shown = slice_of(page)
    page.wait_for_function("() => location.hash.includes('narrow') && location.hash.includes('25')")
    again = watched.open(page.url.removeprefix(watched.address))
    wait_for_items(again, wanted)
    wait_for_slice(again, shown[0])
    np.testing.assert_allclose(place_of(again), NODULE, atol=0.05)
    assert "Narrow" in again.inner_text("#at-top-right")
    assert again.input_value("#filter-largest") == "25"


def test_a_link_to_an_upload_says_that_it_must_be_uploaded_again(watched):
    page = watched.open(link({"upload": "mine.nrrd", "world_mm": [0, 0, 0]}))
    page.wait_for_selector("#open-problem:visible")
    assert "mine.nrrd must be uploaded again" in page.inner_text("#open-problem")


def test_a_table_and_a_figure_are_saved(watched, archive):
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    for kind, start in (("csv", b"rank"), ("png", b"\x89PNG")):
        page.click("#export summary")
        with page.expect_download() as download:
            page.click(f"#export [data-format={kind}]")
        assert download.value.suggested_filename.endswith(f".{kind}")
        content = Path(download.value.path()).read_bytes()
        assert content.lstrip(b"\xef\xbb\xbf").startswith(start)
        if kind == "csv":
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
            assert [int(row["item"]) for row in rows] == items(page)


# --- other queries --------------------------------------------------------------------------------


def test_a_scan_is_chosen_from_the_folders(watched):
    page = watched.open()
    page.click("#browse-list >> text=subset2")
    page.click("#browse-list >> text=a.mhd")
    page.wait_for_selector("#viewport:visible")
    wait_for_slice(page, 41)


def test_an_item_by_its_number_and_by_its_record(watched, archive):
    page = watched.open()
    page.click("#tab-item")
    page.fill("#item-number", "3")
    page.keyboard.press("Enter")
    wait_for_items(page, archive.search_item(3))
    page.click("#viewer-open")
    page.click("#tab-records")
    page.click("#record-conditions >> text=Add condition")
    page.select_option("#record-conditions .column", "diameter_mm")
    page.select_option("#record-conditions .operator", ">")
    page.fill("#record-conditions .value", "20")
    page.wait_for_function(
        "() => document.querySelector('#record-note').innerText.startsWith('1 record')"
    )
    (found,) = archive.records.where("diameter_mm > 20")
    page.click("#record-list button")
    wait_for_items(page, archive.search_item(archive.records[int(found)]["item"]))


def test_a_pasted_picture_is_searched(watched, archive, root, tmp_path):
    image = np.asarray(archive.search_item(3).query.image)
    sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / "crop.png"))
    page = watched.open()
    page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], 'crop.png', { type: 'image/png' }));
          window.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer }));
        }""",
        list((tmp_path / "crop.png").read_bytes()),
    )
    wait_for_items(page, archive.search_image(image))
    assert grey_of(page, "#viewer-canvas") > 10


def test_dropped_files_are_uploaded(watched, series):
    page = watched.open()
    files = [[path.name, list(path.read_bytes())] for path in series[30:50]]
    page.evaluate(
        """files => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name));
          }
          const drop = kind => window.dispatchEvent(
            new DragEvent(kind, { dataTransfer: transfer, cancelable: true }));
          drop('dragenter');
          if (!document.body.classList.contains('dragging')) throw new Error('no drop area');
          drop('drop');
        }""",
        files,
    )
    page.wait_for_selector("#at-bottom-left >> text=/ 20")
    assert "20 files" in page.inner_text("#at-top-left")


# --- what can go wrong ----------------------------------------------------------------------------


def test_a_scan_that_cannot_be_read_gets_the_message_of_the_library(watched, root):
    page = watched.open()
    page.click("#tab-upload")
    broken = {"name": "broken.nrrd", "mimeType": "", "buffer": b"NRRD0004\ntype: short\n"}
    watched.allowed.append("422")
    watched.allowed.append("400")
    page.set_input_files("#file-input", [broken])
    page.wait_for_selector("#open-problem:visible")
    text = page.inner_text("#open-problem")
    assert "broken.nrrd cannot be opened" in text
    assert str(root) not in text
    page.click("#open-problem >> text=Dismiss")
    assert not page.is_visible("#open-problem")


def test_a_server_that_is_away_is_waited_for(watched, archive):
    watched.allowed.append("ERR_FAILED")
    page = watched.open(link({"item": 3}))
    wait_for_results(page)
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("f")
    page.check("#option-own-scan")
    page.wait_for_selector("#banner:visible")
    assert "does not answer" in page.inner_text("#banner")
    page.unroute("**/api/**")
    page.wait_for_selector("#banner", state="hidden")
    wait_for_items(page, archive.search_item(3, own_scan=True))


def test_a_token_is_asked_for_and_kept(browser, archive, tmp_path):
    settings = Settings(token="a-token-of-this-test", warm_up=False)
    with serving(make_app(archive, settings, temporary=tmp_path)) as url:
        pages = Watched(browser, url)
        pages.allowed.append("401")
        page = pages.open(link({"item": 3}), shows="#token-panel")
        page.fill("#token", "another-token-of-this-test")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token:invalid")
        page.fill("#token", settings.token)
        page.keyboard.press("Enter")
        wait_for_items(page, archive.search_item(3))
        assert settings.token not in page.url
        pages.close()


def test_a_scan_that_the_server_has_closed_is_opened_again(watched, archive, root):
    watched.allowed.append("404")
    page = watched.open(at_nodule())
    wait_for_results(page)
    (opened,) = {
        part.split("/")[2]
        for part in page.evaluate(
            """() => performance.getEntriesByType('resource')
              .map(one => new URL(one.name).pathname.slice(1))
              .filter(path => path.startsWith('api/scans/'))"""
        )
    }
    assert page.request.delete(f"{watched.address}api/scans/{opened}").status == 204
    page.fill("#go-to-text", "-60, 0, -40")
    page.keyboard.press("Enter")
    path = root / "tree" / "subset2" / "a.mhd"
    wait_for_items(page, archive.search_scan(path, world_mm=(-60, 0, -40)))


def test_texts_of_records_and_files_are_never_markup(watched, series):
    page = watched.open(link({"item": 1}))  # of the patient whose name is markup
    wait_for_results(page)
    page.keyboard.press("1")
    page.wait_for_selector("#detail-record tr")
    for selector in (".hit b", "#detail b", "#detail solid", "img[src=x]"):
        assert page.locator(selector).count() == 0, selector
    assert "it's <solid>" in page.inner_text("body") + page.inner_text("#detail-record")


# --- appearance -----------------------------------------------------------------------------------


def test_all_of_it_fits_a_phone(watched):
    page = watched.open(at_nodule(), **PHONE)
    wait_for_results(page)
    assert has_no_horizontal_scrolling(page)
    page.tap(".hit .thumb >> nth=0")
    page.wait_for_selector("#detail[open]")
    assert has_no_horizontal_scrolling(page)
    inner = page.eval_on_selector("#detail", "box => box.scrollWidth <= box.clientWidth")
    assert inner
    page.tap("#detail-close")
    page.tap("#filters-toggle")
    page.wait_for_selector("#filters:visible")
    assert has_no_horizontal_scrolling(page)
    page.tap("#filters-close")
    page.tap("#viewer-open")
    for tab in ("folders", "upload", "item", "records"):
        page.tap(f"#tab-{tab}")
        assert has_no_horizontal_scrolling(page), tab


def test_a_finger_scrolls_and_a_tap_searches(watched, archive):
    page = watched.open(link({"path": "tree/subset2/a.mhd"}), **PHONE)
    page.wait_for_selector("#viewport:visible")
    wait_for_slice(page, 41)
    box = page.locator("#viewport").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    client = page.context.new_cdp_session(page)

    def touch(kind, points):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", [{"x": x, "y": y}])
    for step in range(1, 9):
        touch("touchMove", [{"x": x, "y": y - 12 * step}])
    touch("touchEnd", [])
    page.wait_for_function("() => Number(document.querySelector('#slice-slider').value) > 44")
    assert items(page) == []
    page.touchscreen.tap(x, y)
    wait_for_results(page)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_accessibility(watched, theme):
    page = watched.open(at_nodule(), color_scheme="light")
    assert page.get_attribute("html", "data-theme") == "dark"  # whatever the system prefers
    if theme == "light":
        page.click("#theme")
    assert page.get_attribute("html", "data-theme") == theme
    # Only the contrast depends on the theme.
    rules = ["color-contrast"] if theme == "light" else None
    wait_for_results(page)
    page.keyboard.press("f")
    assert violations(page, rules) == []
    page.keyboard.press("1")
    page.wait_for_selector("#detail-origin p")
    assert violations(page, rules) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert violations(page, rules) == []
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    for tab in ("item", "upload", "records"):
        page.click(f"#tab-{tab}")
    page.wait_for_selector("#record-list li")
    assert violations(page, rules) == []


def test_everything_is_reached_by_the_tab_key_with_a_visible_focus(watched):
    page = watched.open(at_nodule())
    wait_for_results(page)
    page.keyboard.press("f")
    page.evaluate("document.activeElement.blur()")
    wanted = {"link", "theme", "help-open", "viewer-open", "viewport", "slice-slider", "split"}
    wanted |= {"go-to-text", "filters-toggle", "option-k", "pool-mode", "filters-reset"}
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate(
            """() => {
              const one = document.activeElement;
              const marked = [one, one.nextElementSibling].some(each => each
                && getComputedStyle(each).outlineStyle !== 'none');
              const exempt = one.matches('body, .split');  // the border changes its colour
              return [one.id || one.outerHTML.slice(0, 200), marked || exempt];
            }"""
        )
        assert outlined, name
        seen.add(name)
        if wanted <= seen:
            return
    raise AssertionError(f"not reached: {wanted - seen}")
