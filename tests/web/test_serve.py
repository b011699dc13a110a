"""The real command line: a server in a process of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from documents import ROOT, marked_block
from web.small_archive import write_export

pytestmark = pytest.mark.e2e
ENVIRONMENT = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def command(*flags):
    return [sys.executable, "-m", "experiments.serve", "--port=0", *flags]


@contextlib.contextmanager
def served(*flags, **environment):
    """A server in a process: (process, its address)."""
    process = subprocess.Popen(
        command(*flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"open (http://[\d.]+:\d+)(/\?token=\S+)?\n", line)
        assert found, line + process.stderr.read()
        yield process, found[1], found[2]
    finally:
        process.kill()
        process.communicate()


def get(address):
    with urllib.request.urlopen(address) as answer:
        return json.load(answer)


def post(address, body, kind):
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


DAMAGED = {
    "Doe^Jane.tif": b"II*\0\x08\0\0\0\x01\0\xff\xff\x02\0\x05\0\0\0Doe^Jane",
    "Doe^Jane.png": b"\x89PNG\r\n\x1a\nDoe^Jane",
    "Doe^Jane.nrrd": b"NRRD0004\n# Doe^Jane\n\xff\xfe",
    "Doe^Jane.dcm": b"DICM".rjust(132, b"\0") + b"\x10\0\x10\0PN\x20\0Doe^Jane",
}


def search_damaged(address):
    """Search by damaged files that name a patient, which libraries complain about."""
    for name, content in DAMAGED.items():
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        form = head.encode() + content + b"\r\n--x--\r\n"
        sent = post(f"{address}/api/uploads", form, "multipart/form-data; boundary=x")
        place = {"world_mm": [0, 0, 0]} if sent["kind"] == "scan" else {}
        query = json.dumps({"query": {sent["kind"]: sent["id"], **place}}).encode()
        with pytest.raises(urllib.error.HTTPError):
            post(f"{address}/api/search", query, "application/json")


def test_the_examples_run_and_killing_the_server_leaves_nothing(small, tmp_path):
    out, scans = tmp_path / "export", tmp_path / "scans"
    write_export(small, out)
    scans.mkdir()
    (tmp_path / "tmp").mkdir()
    for path in (small.root / "tree" / "subset2").glob("a.*"):
        text = path.read_bytes().replace(b"a.zraw", b"patient.zraw")
        (scans / f"patient{path.suffix}").write_bytes(text)
    flags = (f"--archive={out}", f"--scans={scans}")
    with served(*flags, TMPDIR=str(tmp_path / "tmp")) as (process, address, token):
        assert token is None
        assert get(f"{address}/api/health")["items"] == 12
        with urllib.request.urlopen(address) as page:
            assert b"<html" in page.read()
        python = marked_block("inres/web/README.md", "python example", "python")
        done = subprocess.run(
            [sys.executable, "-c", python.replace("http://127.0.0.1:8080", address)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "items in the pool" in done.stdout
        _, *results = [line for line in done.stdout.splitlines() if re.match(r"\d ", line)]
        if shutil.which("curl"):
            curl = marked_block("inres/web/README.md", "curl example", "bash")
            done = subprocess.run(
                ["bash", "-e", "-c", curl.replace("http://127.0.0.1:8080", address)],
                capture_output=True, text=True, check=True, cwd=scans,
            )  # fmt: skip
            hits = json.loads(done.stdout)["hits"]
            assert [hit["scan"] for hit in hits] == [line.split()[-2] for line in results]
        search_damaged(address)
        (held,) = (tmp_path / "tmp").glob("inres-uploads-*")
        assert held.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
        log = process.stderr.read()
        for _ in range(500):
            if not held.exists():
                break
            time.sleep(0.01)
        assert not list((tmp_path / "tmp").glob("inres-*"))
    assert "POST /api/search 200" in log
    assert "POST /api/uploads 202" in log
    assert "patient" not in log
    assert "Doe" not in log
    lines = [re.match(r"[\d-]+ [\d:,]+ [A-Z]+ \S+ \d+ \d+ ms$", line) for line in log.splitlines()]
    assert all(lines), log
