"""Requests that are refused, what answers say to browsers, and what the log holds."""

import logging
import os

import pytest
from web.small_archive import PATIENT

from inres.archive import Archive
from inres.ct import dicom, listing
from inres.web.settings import checked_token, named_roots

TOKEN = "a-token-of-this-test"
JSON = {"query": {"item": 3}, "options": {"nearest": 3}}


def test_hosts_of_other_names_are_refused(client):
    for host in ("127.0.0.1:8080", "127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:8080"):
        assert client.get("/api/health", headers={"host": host}).status_code == 200, host
    others = (
        *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1:8080"),
        *("user@127.0.0.1", "127.0.0.1/x", "127.0.0.1:x", "localhost.", "", "::1", "127.1"),
    )
    for host in others:
        message = client.refused(421, "GET", "/api/health", headers={"host": host})
        assert "not one of this server" in message, host
    for path in ("/", "/js/main.js", "/api/nothing"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421


def test_two_hosts_are_refused(client):
    headers = [("host", "127.0.0.1"), ("host", "evil.example")]
    client.refused(421, "GET", "/api/health", headers=headers)


def test_targets_that_are_no_path_are_refused(serve):
    """Absolute targets (`GET http://other/api/archive`) and `OPTIONS *` pass by no check."""
    with serve(host="0.0.0.0", token=TOKEN) as client:
        for path in ("http://127.0.0.1:8080/api/archive", "*", "api/archive", ""):
            statuses = []

            async def send(message, statuses=statuses):
                statuses.append(message.get("status"))

            scope = {
                **{"type": "http", "method": "GET", "path": path, "query_string": b""},
                **{"http_version": "1.1", "scheme": "http", "root_path": "", "raw_path": b""},
                "headers": [(b"host", b"127.0.0.1:8080")],
            }
            client.portal.call(client.app, scope, None, send)
            assert statuses[0] == 400, path
        for path in ("//api/archive", "/./api/archive", "/API/archive", "/%2e/api/archive"):
            assert client.get(f"http://127.0.0.1:8080{path}").status_code in (401, 404), path
        assert client.get("/%61pi/archive").status_code == 401
        for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "CONNECT"):
            assert client.request(method, "/%61pi/archive").status_code == 401
            assert client.request(method, "/").status_code in (200, 401, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "file://127.0.0.1:8080"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "cross-site"},
    ],
)
def test_requests_of_other_sites_are_refused(client, headers):
    assert "another site" in client.refused(403, "POST", "/api/search", json=JSON, headers=headers)
    client.refused(403, "GET", "/api/archive", headers=headers)
    client.refused(403, "DELETE", "/api/scans/x", headers=headers)
    client.refused(403, "POST", "/api/uploads", files={"file": b"x"}, headers=headers)
    assert client.get("/", headers=headers).status_code == 200  # a link may lead here


def test_requests_of_the_page_and_of_programs_are_answered(client):
    own = {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
    assert client.post("/api/search", json=JSON, headers=own).status_code == 200
    assert client.get("/api/archive", headers={"sec-fetch-site": "none"}).status_code == 200
    assert client.post("/api/search", json=JSON).status_code == 200


def test_every_answer_tells_browsers_what_it_may_not_do(client):
    for method, path in (
        *(("GET", "/"), ("GET", "/api/health"), ("GET", "/api/items/1/image.png")),
        *(("GET", "/nothing"), ("POST", "/api/search"), ("PUT", "/api/search")),
    ):
        headers = client.request(method, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_bodies_are_json_and_small(client):
    kinds = ({}, {"content-type": "text/plain"}, {"content-type": "multipart/form-data"})
    for headers in kinds:
        client.refused(415, "POST", "/api/search", content=b'{"query": {}}', headers=headers)
    send = {"headers": {"content-type": "application/json; charset=utf-8"}}
    wrong = (b"", b"{", b"[1]", b"NaN", b'{"query": NaN}', b"\xff", b"[" * 100_000, b'"x"')
    for body in (*wrong, b'{"query": {"item": 1' + b"0" * 5000 + b"}}"):
        client.refused(400, "POST", "/api/search", content=body, **send)
    large = b'{"query": "' + b"x" * (1 << 20) + b'"}'
    client.refused(413, "POST", "/api/search", content=large, **send)


def test_paths_outside_of_the_roots_are_not_found(client, small, tmp_path):
    tree = small.root / "tree"
    (tmp_path / "secret.mhd").write_text("secret")
    links = {"out": tmp_path, "passwd.mhd": "/etc/passwd", "loop.mhd": "loop.mhd"}
    for name, target in links.items():
        (tree / name).symlink_to(target)
    (tree / "inner").symlink_to(tree / "subset0")
    try:
        for path in (
            *("../items", "subset0/../../items", "/etc/passwd", "out/secret.mhd", "passwd.mhd"),
            *("loop.mhd", "\0", "x" * 5000, "nothing.mhd", str(tmp_path)),
        ):
            body = {"root": "tree", "path": path}
            message = client.refused(404, "POST", "/api/scans", json=body)
            assert message == "nothing of that name in tree"
            client.refused(404, "GET", "/api/files", params=body)
        client.refused(404, "POST", "/api/scans", json={"root": "items", "path": "x"})
        client.refused(400, "POST", "/api/scans", json={"root": "tree", "path": 3})
        names = [one["name"] for one in client.get("/api/files?root=tree").json()["entries"]]
        assert names == ["inner", "subset0", "subset2"]
        client.opened("inner/b.mhd")
    finally:
        for name in (*links, "inner"):
            (tree / name).unlink()


def test_pipes_and_devices_do_not_hold_a_reader(client, small, tmp_path):
    tree = small.root / "tree"
    header = (tree / "subset0" / "b.mhd").read_text().replace("b.zraw", "pipe.raw")
    made = [tree / name for name in ("pipe.mhd", "pipe.raw", "to_pipe.mhd", "zero.mhd")]
    os.mkfifo(made[0])
    os.mkfifo(made[1])
    made[2].write_text(header)
    made[3].symlink_to("/dev/zero")
    (tree / "series").mkdir()
    os.mkfifo(tree / "series" / "a.dcm")
    try:
        for name, status in (("pipe.mhd", 400), ("zero.mhd", 404)):
            client.refused(status, "POST", "/api/scans", json={"root": "tree", "path": name})
        for name in ("to_pipe.mhd", "series"):
            body = {"root": "tree", "path": name}
            state = client.wait(client.post("/api/scans", json=body).json()["id"], "failed")
            assert "a pipe or device" in state["error"]["message"]
        names = [one["name"] for one in client.get("/api/files?root=tree").json()["entries"]]
        assert names == ["series", "subset0", "subset2", "to_pipe.mhd"]
    finally:
        for path in (*made, tree / "series" / "a.dcm"):
            path.unlink()
        (tree / "series").rmdir()


def test_a_link_that_is_turned_while_a_scan_is_read_gives_nothing(client, small, monkeypatch):
    tree = small.root / "tree"
    link, real = tree / "turned.mhd", Archive.open_scan
    link.symlink_to(tree / "subset0" / "b.mhd")

    def open_scan(archive, path, **more):
        found = real(archive, tree / "subset0" / "b.mhd", **more)
        link.unlink()
        link.symlink_to("/etc/passwd")
        return found

    monkeypatch.setattr(Archive, "open_scan", open_scan)
    try:
        body = {"root": "tree", "path": "turned.mhd"}
        state = client.wait(client.post("/api/scans", json=body).json()["id"], "failed")
        assert "lies outside" in state["error"]["message"]
    finally:
        link.unlink()


def test_links_to_elsewhere_are_not_looked_at(client, small, tmp_path, monkeypatch):
    looked, has_dicom = [], listing.has_dicom
    monkeypatch.setattr(listing, "has_dicom", lambda path: looked.append(path) or has_dicom(path))
    (small.root / "tree" / "out").symlink_to(tmp_path)
    try:
        client.get("/api/files?root=tree")
    finally:
        (small.root / "tree" / "out").unlink()
    assert small.root.resolve() / "tree" / "out" not in looked
    assert len(looked) == 3


def test_a_folder_of_many_scans_is_not_read_as_one(client, monkeypatch):
    monkeypatch.setattr(dicom, "MOST_FILES", 3)
    body = {"root": "tree", "path": ""}
    message = client.refused(400, "POST", "/api/scans", json=body)
    assert (
        message == "tree: more than 6 files in this folder and below; open the folder of one scan"
    )


def test_the_token_is_needed_for_everything_but_health_and_the_files_of_the_page(serve):
    with serve(host="0.0.0.0", token=TOKEN) as client:
        for path in ("/api/health", "/", "/js/main.js"):
            assert client.get(path).status_code == 200
        for path in ("/api/archive", "/api/openapi.json", "/api/nothing"):
            assert client.get(path).status_code == 401
        assert "needs its token" in client.refused(401, "POST", "/api/search", json=JSON)
        for wrong in ("x", TOKEN[:-1], f"{TOKEN}x", "é" * len(TOKEN), ""):
            bearer = {"authorization": f"Bearer {wrong}".encode("latin-1")}
            client.refused(401, "GET", "/api/archive", headers=bearer)
            client.refused(
                401, "GET", "/api/archive", headers={"cookie": f"inres_8080={wrong}".encode()}
            )
            if wrong:
                assert client.get("/", params={"token": wrong}).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/archive", headers=bearer).status_code == 200
        answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/archive").status_code == 200  # the client keeps the cookie
        for host in ("192.168.1.7:8080", "[fe80::1]", "localhost"):
            assert client.get("/api/archive", headers={"host": host}).status_code == 200
        client.refused(421, "GET", "/api/archive", headers={"host": "evil.example"})


def test_any_token_that_is_accepted_works_as_a_cookie(serve):
    token = "a;\"\\,=token%41+of'odd&characters"
    assert checked_token("0.0.0.0", token) == token
    with serve(host="0.0.0.0", token=token) as client:
        answer = client.get("/", params={"token": token}, follow_redirects=False)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].partition(";")[0].encode()
        client.cookies.clear()
        assert client.get("/api/archive", headers={"cookie": cookie}).status_code == 200
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/api/archive", headers=bearer).status_code == 200


def test_a_token_is_made_where_others_can_connect():
    assert checked_token("127.0.0.1", "") == checked_token("::1", "") == ""
    made = {checked_token("0.0.0.0", "") for _ in range(3)}
    assert len(made) == 3
    assert all(len(token) >= 32 for token in made)
    assert checked_token("127.0.0.1", TOKEN) == TOKEN
    for short in ("short", "with a space inside", "é" * 20):
        with pytest.raises(ValueError, match="at least 16"):
            checked_token("0.0.0.0", short)


def test_roots_have_names_of_their_own(tmp_path):
    for name in ("a/scans", "b/scans"):
        (tmp_path / name).mkdir(parents=True)
    folders = [tmp_path / "a/scans", tmp_path / "b/scans", tmp_path / "a/../a/scans"]
    assert named_roots(folders) == {"scans": folders[0], "scans (2)": folders[1]}
    with pytest.raises(ValueError, match="nothing: no such folder"):
        named_roots([tmp_path / "nothing"])


def test_the_log_has_no_names(client, caplog):
    with caplog.at_level(logging.DEBUG):
        client.opened("subset2/a.mhd")
        query = {
            "query": {"item": 7},
            "options": {"where": f"patient <> '{PATIENT}'", "nearest": 9},
        }
        assert client.post("/api/search", json=query).status_code == 200
        client.get("/api/records", params={"where": "patient = 'Doe'"})
        client.get("/Doe/a.mhd")
        client.request("DOE", "/api/search")
        client.get("/api/files?root=tree&path=Doe")
        found = client.get("/api/records").text
    assert "Doe^Jane" in found  # the answers do
    records = [r for r in caplog.records if r.name.startswith("inres")]
    assert len(records) >= 6
    text = "\n".join(record.getMessage() for record in records)
    for name in ("Doe", "a.mhd", "subset2", "patient", "tree"):
        assert name not in text
    assert "POST /api/search 200" in text
    assert "(other) /api/search 405" in text or "(other) (page) 405" in text


def test_an_error_of_the_server_is_logged_without_its_message(client, monkeypatch, caplog):
    def fail(*_, **__):
        raise KeyError(PATIENT)

    monkeypatch.setattr("inres.archive.Archive.search_item", fail)
    with caplog.at_level(logging.DEBUG):
        message = client.refused(500, "POST", "/api/search", json=JSON)
    assert message == "the server failed, by an error of its own"
    assert "Jane" not in caplog.text
    assert "KeyError at test_security.py" in caplog.text
