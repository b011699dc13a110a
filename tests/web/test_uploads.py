"""Uploads: what they are, what is refused, and that nothing is left of them."""

import asyncio
import dataclasses
import io
import os
import stat
import struct
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ct.dicom_files import slices as dicom_slices
from python_multipart.multipart import MultipartParser

from inres.archive import Archive
from inres.web import zips
from inres.web.answers import ApiError
from inres.web.names import Names, RefusedName


def send(client, files, **kwargs):
    """Upload files, a mapping of names to contents or a list of pairs."""
    pairs = files.items() if isinstance(files, dict) else files
    return client.post("/api/uploads", files=[("file", pair) for pair in pairs], **kwargs)


def sent(client, files):
    answer = send(client, files)
    assert answer.status_code == 202, answer.text
    return answer.json()


def left(client):
    """Files of uploads on disk."""
    folder = client.app._app._app.state.server.uploads._folder
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def chest(small, name="b"):
    """The files of a scan of the small archive, by name."""
    folder = next((small.root / "tree").glob(f"*/{name}.mhd")).parent
    return {path.name: path.read_bytes() for path in folder.glob(f"{name}.*")}


def as_dicom(small, name="b", *, uid="1.2.3", patient="p1", step=4):
    """Every fourth slice of a scan as DICOM files, by name."""
    image = sitk.ReadImage(next((small.root / "tree").glob(f"*/{name}.mhd")))
    hu = sitk.GetArrayFromImage(image)[::step]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin, spacing = np.array(image.GetOrigin()), np.array(image.GetSpacing())
    places = [tuple(origin + k * step * spacing[2] * direction[:, 2]) for k in range(len(hu))]
    made = dicom_slices(
        *(hu, places),
        uid=uid,
        turn=tuple(direction[:, :2].T.ravel()),
        PatientID=patient,
        StudyInstanceUID=f"{uid}.9",
        PixelSpacing=[spacing[1], spacing[0]],
        SliceThickness=step * spacing[2],
    )
    found = {}
    for number, dataset in enumerate(made):
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        found[f"IM{number:03d}"] = out.getvalue()
    return found


def zipped(files, **kwargs):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content, **kwargs)
    return out.getvalue()


# --- what uploads are -----------------------------------------------------------------------------


def test_an_uploaded_scan_is_the_scan(client, archive, small):
    files = chest(small)
    answer = sent(client, {f"folder of a patient/{name}": data for name, data in files.items()})
    assert answer["kind"] == "scan"
    about = client.wait(answer["id"])
    assert (about["name"], about["source"]) == ("b.mhd", None)
    found = client.searched({"scan": answer["id"], "world_mm": [70, 10, 30]}, nearest=6)
    hits = archive.search_scan(
        small.root / "tree/subset0/b.mhd", world_mm=(70.0, 10.0, 30.0), nearest=6
    )
    assert [hit["item"] for hit in found["hits"]] == [hit.record["item"] for hit in hits]
    assert found["own_scan_excluded"]  # recognised by its name
    assert sorted(files) == left(client)
    client.delete(f"/api/scans/{answer['id']}")
    assert left(client) == []
    client.refused(404, "GET", f"/api/scans/{answer['id']}")


@pytest.mark.parametrize("form", ["files", "folder", "zip"])
def test_dicom_is_recognised_by_its_contents(client, small, form):
    files = as_dicom(small)
    if form == "folder":
        files = {f"export\\CT 1\\{name}": data for name, data in files.items()}
    if form == "zip":
        files = {f"export/CT/{name}": data for name, data in files.items()}
        files = {"export.zip": zipped({"export/": b"", "__MACOSX/._IM": b"x", **files})}
    answer = sent(client, files)
    about = client.wait(answer["id"])
    assert about["series_uid"] == "1.2.3"
    assert about["shape"][0] == 20
    body = {"query": {"scan": answer["id"], "world_mm": [0, 0, 9999]}}
    error = client.refused(400, "POST", "/api/search", json=body)
    assert error.startswith("export" if form != "files" else "the upload: (0.0")
    assert "upload-" not in error
    client.delete(f"/api/scans/{answer['id']}")
    assert left(client) == []


def test_one_of_several_series_is_chosen(client, small):
    one, two = as_dicom(small), as_dicom(small, uid="1.2.4", step=8)
    answer = sent(
        client, {f"a/{n}": d for n, d in one.items()} | {f"b/{n}": d for n, d in two.items()}
    )
    about = client.wait(answer["id"], "failed")
    assert "2 patients or studies" in about["error"]["message"]
    assert [series["uid"] for series in about["series"]] == ["1.2.3", "1.2.4"]
    assert "10 slices" in about["series"][1]["text"]
    body = {"scan": answer["id"], "series_uid": "1.2.4"}
    other = client.post("/api/scans", json=body).json()["id"]
    assert client.wait(other)["shape"][0] == 10
    client.delete(f"/api/scans/{answer['id']}")
    assert client.get(f"/api/scans/{other}/slices/1.png").status_code == 200
    client.delete(f"/api/scans/{other}")
    assert left(client) == []


def test_pictures_are_images(client, archive, small, tmp_path):
    image = sitk.GetImageFromArray(np.asarray(archive.image(3)))
    sitk.WriteImage(image, str(tmp_path / "crop.png"))
    answer = sent(client, {"crop.png": (tmp_path / "crop.png").read_bytes()})
    assert answer["kind"] == "image"
    found = client.searched({"image": answer["id"]}, nearest=5)
    hits = archive.search_image(tmp_path / "crop.png", nearest=5)
    assert [hit["item"] for hit in found["hits"]] == [hit.record["item"] for hit in hits]
    assert found["query"]["notes"][0].startswith("its pixel size is unknown")
    client.refused(404, "GET", f"/api/scans/{answer['id']}")
    several = {f"{k}.png": (tmp_path / "crop.png").read_bytes() for k in range(3)}
    stack = sent(client, several)
    assert stack["kind"] == "image"
    query = {"image": stack["id"], "slice_mm": 5.0}
    assert len(client.searched(query, nearest=5)["hits"]) == 5
    for id_ in (answer["id"], stack["id"]):
        client.delete(f"/api/scans/{id_}")
    client.refused(404, "POST", "/api/search", json={"query": {"image": answer["id"]}})
    assert left(client) == []


# --- what is refused ------------------------------------------------------------------------------

GOOD = b"DICM".rjust(132, b"\0")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "multipart/form-data"),
        ({"notes.txt": b"x"}, "no scan; give a .mhd"),
        ({"a.raw": b"x"}, "voxels without their header"),
        ({"a.mhd": b"x", "b.mhd": b"x"}, "2 scans"),
        ({"../a.dcm": GOOD}, "leads out of the folder"),
        ({"a/../../b.dcm": GOOD}, "leads out of the folder"),
        ({"/etc/a.dcm": GOOD}, "absolute"),
        ({"C:/a.dcm": GOOD}, "absolute"),
        ({"a" * 201: GOOD}, "too long"),
        ({"/".join("a" * 17): GOOD}, "too long"),
        ([("a.dcm", GOOD), ("a.dcm", GOOD)], "occurs twice"),
        ([("a", GOOD), ("a/b", GOOD)], "both a file and a folder"),
        ([("a/b", GOOD), ("a", GOOD)], "both a file and a folder"),
        ({"a.zip": b"PK\3\4garbage", "b.dcm": GOOD}, "next to other files"),
        ({"a.zip": b"PK\3\4garbage"}, "damaged"),
    ],
)
def test_files_that_are_no_scan_are_refused(client, files, message):
    answer = send(client, files)
    assert answer.status_code in (400, 415)
    assert any(part in answer.json()["error"]["message"] for part in message.split("|"))
    assert left(client) == []


def test_forms_of_another_kind_are_refused(client):
    client.refused(415, "POST", "/api/uploads", json={})
    client.refused(400, "POST", "/api/uploads", files={"other": ("a.dcm", GOOD)})
    long = {"headers": {"content-type": f"multipart/form-data; boundary={'x' * 40_000}"}}
    client.refused(400, "POST", "/api/uploads", content=b"", **long)
    form = {"headers": {"content-type": "multipart/form-data; boundary=x"}}
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n'
    for body in (
        b"",
        b"nonsense",
        head % b"a.dcm" + GOOD,  # cut off
        head % b"\xff.dcm" + b"x\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--\r\n',
        b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\nx\r\n--x--\r\n",
        b"--x\r\nA: " + b"b" * 100_000,
    ):
        client.refused(400, "POST", "/api/uploads", content=body, **form)
    assert left(client) == []


def test_limits_of_an_upload(serve):
    limits = {"upload_bytes": 10_000, "upload_files": 3, "unpacked_bytes": 20_000}
    with serve(limits=limits) as client:
        large = {"a.dcm": GOOD + bytes(10_000)}
        assert "more than 1e-05 GB" in send(client, large).json()["error"]["message"]
        many = {f"{k}.dcm": GOOD for k in range(4)}
        answer = send(client, many)
        assert (answer.status_code, left(client)) == (413, [])
        for files in (many, {"a": bytes(20_001)}, {"a": bytes(15_000), "b": bytes(6000)}):
            answer = send(client, {"a.zip": zipped(files)})
            assert answer.status_code == 400
            assert "leave some out" in answer.json()["error"]["message"]
        assert left(client) == []


def test_a_scan_that_needs_more_memory_than_allowed_is_refused(serve, small):
    with serve(limits={"unpacked_bytes": 1_000_000}) as client:
        id_ = sent(client, chest(small))["id"]
        message = client.wait(id_, "failed")["error"]["message"]
        assert "GB of memory are needed" in message
        assert message.startswith("b.mhd: ")


def raw_entry(name, content, **changes):
    """One entry of a zip archive: local header with content, and its line in the directory."""
    info = {"flags": 0, "method": 0, "size": len(content), "packed": content, "mode": 0} | changes
    packed = info["packed"]
    crc, name = zlib.crc32(content), name.encode()
    both = (info["flags"], info["method"], 0, 0, crc, len(packed), info["size"], len(name), 0)
    local = b"PK\3\4" + struct.pack("<5H3I2H", 20, *both) + name + packed

    def line(offset):
        more = struct.pack("<3H2I", 0, 0, 0, info["mode"] << 16, offset)
        return b"PK\1\2" + struct.pack("<6H3I2H", 20, 20, *both) + more + name

    return local, line


def raw_zip(entries, offsets=None):
    """A zip archive of entries from `raw_entry`, whose directory may state other offsets."""
    starts = np.cumsum([0, *(len(local) for local, _ in entries)]).tolist()
    at = starts if offsets is None else offsets
    directory = b"".join(line(at[number]) for number, (_, line) in enumerate(entries))
    count = len(entries)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(directory), starts[-1], 0)
    return b"".join(local for local, _ in entries) + directory + b"PK\5\6" + end


ZIPS = {
    "a link": (raw_zip([raw_entry("a", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)]), "is a link"),
    "a device": (raw_zip([raw_entry("a", b"", mode=stat.S_IFCHR | 0o666)]), "a device or pipe"),
    "a pipe": (raw_zip([raw_entry("a", b"", mode=stat.S_IFIFO | 0o666)]), "a device or pipe"),
    "encrypted": (raw_zip([raw_entry("a", GOOD, flags=1)]), "is encrypted"),
    "by LZMA": (raw_zip([raw_entry("a", GOOD, method=14)]), "not compressed by DEFLATE"),
    "traversal": (raw_zip([raw_entry("../a", GOOD)]), "leads out of the folder"),
    "windows traversal": (raw_zip([raw_entry("b\\..\\..\\a", GOOD)]), "leads out of the folder"),
    "absolute": (raw_zip([raw_entry("/a", GOOD)]), "absolute"),
    "drive": (raw_zip([raw_entry("c:/a", GOOD)]), "absolute"),
    "0 byte": (raw_zip([raw_entry("a.dcm\0.exe", GOOD)]), "0 byte in its name"),
    "line break": (raw_zip([raw_entry("a\nb", GOOD)]), "control characters"),
    "twice": (raw_zip([raw_entry("a", GOOD), raw_entry("a", GOOD)]), "occurs twice"),
    "file and folder": (raw_zip([raw_entry("a", GOOD), raw_entry("a/b", GOOD)]), "both a file"),
    "longer": (
        raw_zip([raw_entry("a", b"x", packed=zipped({"x": bytes(9999)})[30:60], method=8)]),
        "damaged|longer",
    ),
    "overlap": (
        raw_zip([raw_entry("a", GOOD), raw_entry("b", GOOD)], offsets=[0, 0]),
        "overlaps another",
    ),
    "nested": (zipped({"a.dcm": zipped({"b": GOOD})}), "is an archive too"),
    "truncated": (zipped({"a": os.urandom(999)})[:-30], "damaged"),
    "no name": (raw_zip([raw_entry("", GOOD)]), "damaged|without a name"),
    "offset below 0": (
        raw_zip([raw_entry("a", GOOD)])[:-6] + b"\xff\xff\xff\xff\0\0",
        "damaged|overlaps",
    ),
    "offset": (raw_zip([raw_entry("a", GOOD)], offsets=[10_000]), "overlaps|damaged"),
    "wrong checksum": (
        raw_zip([raw_entry("a", GOOD)]).replace(GOOD, GOOD[:-1] + b"!"), "damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ZIPS)
def test_zip_archives_that_may_do_harm_are_refused(client, kind):
    content, message = ZIPS[kind]
    answer = send(client, {"a.zip": content})
    assert answer.status_code == 400, answer.text
    assert any(part in answer.json()["error"]["message"] for part in message.split("|"))
    assert left(client) == []


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """Gigabytes of zeros, stated honestly and not; and a directory of a million entries."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(1 << 24)) + packer.flush()
    bombs = {
        "honest": [raw_entry("a", b"", packed=packed, size=1 << 24, method=8)],
        "lying": [raw_entry("a", b"x" * 100, packed=packed, size=100, method=8)],
        "many": [raw_entry(f"{k:05d}" * 40, b"") for k in range(18_000)],
    }
    for name, entries in bombs.items():
        (tmp_path / "bomb.zip").write_bytes(raw_zip(entries))
        out = tmp_path / name
        out.mkdir()
        with pytest.raises(zips.ZipError, match=r"leave some out|damaged"):
            zips.unzip(tmp_path / "bomb.zip", out, most_files=5000, most_bytes=1 << 20)
        assert sum(p.stat().st_size for p in out.rglob("*")) <= 1 << 20


@pytest.mark.parametrize(
    ("header", "data"),
    [("ElementDataFile = {}", "a.mhd"), ("ElementDataFile = LIST\n{}", "a.mhd"), (None, "a.nhdr")],
)
def test_a_header_that_names_files_elsewhere_reads_nothing(client, tmp_path, header, data):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(np.full((4, 32, 32), 40, "<i2").tobytes())
    above = os.path.relpath(secret, "/tmp/a/b/c/d")
    for target in (str(secret), f"../../../../../../../..{secret}", above):
        if header:
            text = (
                "ObjectType = Image\nNDims = 3\nDimSize = 32 32 4\nElementSpacing = 1 1 1\n"
                "Offset = 0 0 0\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementType = MET_SHORT\n"
            ) + header.format(target)
        else:
            text = (
                "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 32 32 4\nendian: little\n"
                "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n"
                f"data file: {target}\n\n"
            )
        id_ = sent(client, {data: text.encode()})["id"]
        message = client.wait(id_, "failed")["error"]["message"]
        assert "outside of the folder" in message or "data files" in message
        assert str(tmp_path) not in message
        client.delete(f"/api/scans/{id_}")


def test_an_archive_of_images_reads_no_file_elsewhere(serve, small, archive, tmp_path):
    """An image may be a header too, and a picture by its name may hold one."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(np.full((32, 32), 40, "<i2").tobytes())
    nrrd = (
        "NRRD0004\ntype: short\ndimension: 2\nsizes: 32 32\nendian: little\nencoding: raw\n"
        f"data file: {secret}\n\n"
    )
    mhd = (
        "ObjectType = Image\nNDims = 2\nDimSize = 32 32\nElementSpacing = 1 1\n"
        f"ElementType = MET_SHORT\nElementDataFile = {secret}\n"
    )
    config = small.config
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, kind="folder"))
    images = Archive(dataclasses.replace(small, config=config))
    crop = np.zeros((16, 16), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(crop), str(tmp_path / "crop.png"))
    png = (tmp_path / "crop.png").read_bytes()
    with serve(of=images) as client:
        for files in (
            *({"a.nhdr": nrrd.encode()}, {"a.mhd": mhd.encode()}),
            *(
                {"b/1.png": png, "b/2.mhd": mhd.encode()},
                {"a.zip": zipped({"a.mhd": mhd.encode()})},
            ),
        ):
            answer = send(client, files)
            assert answer.status_code == 400
            assert "lies outside" in answer.json()["error"]["message"]
            assert left(client) == []
        for name in ("a.png", "a.tif", "a.bmp"):
            query = {"query": {"image": sent(client, {name: nrrd.encode()})["id"]}}
            assert "holds NRRD" in client.refused(400, "POST", "/api/search", json=query)


def test_names_are_relative_and_each_is_there_once():
    names = Names()
    assert names.add("a/b.dcm") == Path("a/b.dcm")
    assert names.add("./a//c.dcm") == Path("a/c.dcm")
    assert names.add("a\\d.dcm") == Path("a/d.dcm")
    assert names.add("a/", folder=True) is None
    assert names.add("._b.dcm") is None
    assert names.add("x/.DS_Store") is None
    for wrong in ("a/b.dcm", "a", "a/b.dcm/x", "", ".", "..", "a/../..", "//a", "a\x1b", "\ud800"):
        with pytest.raises(RefusedName):
            names.add(wrong)


# --- load and endings -----------------------------------------------------------------------------


def slow_request(client, pieces, ends_after=None):
    """Send an upload piece by piece, on the client's event loop; its status.

    It is complete after so many pieces; None ends the connection.
    """
    app = client.app

    async def run():
        statuses, sent = [], []

        async def receive():
            piece = await pieces.get()
            if piece is None:
                return {"type": "http.disconnect"}
            sent.append(piece)
            more = ends_after is None or len(sent) < ends_after
            return {"type": "http.request", "body": piece, "more_body": more}

        async def send(message):
            statuses.append(message.get("status"))

        scope = {
            **{"type": "http", "method": "POST", "path": "/api/uploads", "query_string": b""},
            **{"http_version": "1.1", "scheme": "http", "root_path": "", "raw_path": b""},
            "headers": [
                (b"host", b"127.0.0.1:8080"),
                (b"content-type", b"multipart/form-data; boundary=x"),
            ],
        }
        await app(scope, receive, send)
        return statuses[0]

    return run


START = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.dcm"\r\n\r\n'


def test_slow_uploads_do_not_block_others_and_end(serve, small):
    with serve(limits={"silent_s": 0.5}) as client:
        found = []
        queues = [asyncio.Queue() for _ in range(12)]
        for queue in queues:
            queue.put_nowait(START)
        threads = [
            threading.Thread(
                target=lambda q=q: found.append(client.portal.call(slow_request(client, q)))
            )
            for q in queues
        ]
        for thread in threads:
            thread.start()
        answer = sent(client, chest(small))
        client.delete(f"/api/scans/{answer['id']}")
        for thread in threads:
            thread.join()
        assert found == [408] * 12
        assert left(client) == []


def test_an_upload_whose_client_goes_leaves_nothing(serve):
    with serve() as client:
        queue = asyncio.Queue()
        for piece in (START, bytes(100_000), None):
            queue.put_nowait(piece)
        assert client.portal.call(slow_request(client, queue)) == 499
        assert left(client) == []


def test_an_upload_that_trickles_ends(serve):
    """A byte now and then does not hold a place."""
    with serve(limits={"silent_s": 0.3}) as client:
        queue = asyncio.Queue()
        queue.put_nowait(START)

        async def trickle():
            while True:
                await asyncio.sleep(0.05)
                queue.put_nowait(b"x")

        task = client.portal.start_task_soon(trickle)
        start = time.monotonic()
        assert client.portal.call(slow_request(client, queue)) == 408
        assert time.monotonic() - start < 2
        task.cancel()
        assert left(client) == []


def test_the_time_in_which_the_server_writes_is_not_the_clients(serve, monkeypatch):
    """As behind other uploads, in a thread that they use."""
    write = MultipartParser.write

    def slow(parser, data):
        time.sleep(0.15)
        return write(parser, data)

    monkeypatch.setattr(MultipartParser, "write", slow)
    pieces = (START, GOOD, b"\r\n--x--\r\n")
    with serve(limits={"silent_s": 0.1}) as client:
        queue = asyncio.Queue()
        for piece in pieces:
            queue.put_nowait(piece)
        assert client.portal.call(slow_request(client, queue, ends_after=len(pieces))) == 202


def test_unpacked_bytes_and_arriving_uploads_count(serve):
    zeros = {"a.zip": zipped({"a.dcm": GOOD + bytes(2_000_000)})}
    with serve(limits={"stored_bytes": 1_000_000 + (1 << 26)}) as client:
        assert sent(client, {"crop.png": b"x"})
    with serve(limits={"stored_bytes": 1_000_000}) as client:
        answer = send(client, zeros)
        assert (answer.status_code, left(client)) == (507, [])
    with serve(limits={"uploads": 2, "silent_s": 0.5}) as client:
        queues = [asyncio.Queue() for _ in range(2)]
        for queue in queues:
            queue.put_nowait(START)
        found = [client.portal.start_task_soon(slow_request(client, queue)) for queue in queues]
        client.portal.call(asyncio.sleep, 0.1)
        assert send(client, {"crop.png": b"x"}).status_code == 503
        assert [one.result(5) for one in found] == [408, 408]
        assert sent(client, {"crop.png": b"x"})["kind"] == "image"


def test_unpacking_ends_with_its_client_and_leaves_nothing(serve, monkeypatch):
    """Nothing is written after the folder has been removed."""
    begun, pieces, piece = threading.Event(), [], zips._piece

    def slow(packed):
        begun.set()
        time.sleep(0.05)
        pieces.append(1)
        return piece(packed)

    monkeypatch.setattr(zips, "_piece", slow)
    content = zipped({f"{k}.dcm": GOOD for k in range(100)})
    with serve() as client:
        queue = asyncio.Queue()
        head = START.replace(b"a.dcm", b"a.zip")
        queue.put_nowait(head + content + b"\r\n--x--\r\n")
        queue.put_nowait(b"")
        request = client.portal.start_task_soon(slow_request(client, queue, ends_after=2))
        assert begun.wait(5)
        client.portal.call(queue.put_nowait, None)
        assert request.result(5) == 499
        count = len(pieces)
        assert count < 20
        time.sleep(0.2)
        assert (len(pieces), left(client)) == (count, [])


def test_an_upload_that_nobody_can_read_now_is_removed(serve, small, monkeypatch):
    with serve() as client:
        scans = client.app._app._app.state.server.scans

        def busy(*_):
            raise ApiError(503, "the server is busy; try again")

        monkeypatch.setattr(scans, "_read_soon", busy)
        answer = send(client, chest(small))
        assert (answer.status_code, left(client)) == (503, [])
        assert not scans._entries


def test_the_least_used_upload_makes_room(serve, small, monkeypatch):
    monkeypatch.setattr("inres.web.uploads._BUSY_S", -1.0)
    files = {"crop.png": zlib.compress(b"")}
    with serve(limits={"uploads": 3}) as client:
        ids = [sent(client, files)["id"] for _ in range(3)]
        client.post("/api/search", json={"query": {"image": ids[0]}})  # damaged, but used
        sent(client, files)
        assert len(left(client)) == 3
        client.refused(404, "POST", "/api/search", json={"query": {"image": ids[1]}})
        client.refused(400, "POST", "/api/search", json={"query": {"image": ids[0]}})
        monkeypatch.setattr("inres.web.uploads._BUSY_S", 100.0)
        answer = send(client, files)
        assert answer.status_code == 507
        assert "as many uploads as it may" in answer.json()["error"]["message"]
        uploads = client.app._app._app.state.server.uploads
        monkeypatch.setattr(uploads, "_limits", type(uploads._limits)(idle_s=-1.0))
        client.portal.call(uploads.remove_idle)
        assert left(client) == []
