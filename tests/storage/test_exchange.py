import struct

import faiss
import kill_store
import numpy as np
import pytest

from inres.storage import errors, exchange, store, updates

BITS, items = kill_store.BITS, kill_store.items


def test_import_from_npy(tmp_path, rng):
    bits = rng.random((9, BITS)) < 0.5
    features = rng.standard_normal((9, 4))
    np.save(tmp_path / "bits.npy", bits)
    np.save(tmp_path / "features.npy", features)
    exchange.import_npy(
        tmp_path / "a", tmp_path / "bits.npy", tmp_path / "features.npy", bits=BITS, model="x"
    )
    first = store.load(tmp_path / "a", model="x")
    np.save(tmp_path / "codes.npy", first.codes)
    exchange.import_npy(
        tmp_path / "b", tmp_path / "codes.npy", tmp_path / "features.npy", bits=BITS, model="x"
    )
    second = store.load(tmp_path / "b")
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(second.features, features.astype(np.float32))
    assert second.records[8] == {"row": 8}
    with pytest.raises(errors.StoreError, match=r"bits.npy.*uint32"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "bits.npy", tmp_path / "features.npy", bits=33, model="x"
        )
    (tmp_path / "bad.npy").write_text("no array")
    with pytest.raises(errors.StoreError, match=r"bad\.npy"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "bad.npy", tmp_path / "features.npy", bits=BITS, model="x"
        )
    np.save(tmp_path / "bad.npy", np.full((9, 4), np.nan))
    with pytest.raises(errors.StoreError, match=r"bad\.npy: features of row 0"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "codes.npy", tmp_path / "bad.npy", bits=BITS, model="x"
        )
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "none.npy", tmp_path / "features.npy", bits=BITS, model="x"
        )
    assert not (tmp_path / "c").exists()


def write_with_faiss(opened, binary, flat):
    """Write an opened index with faiss itself."""
    held, kept = faiss.IndexBinaryFlat(BITS), faiss.IndexFlatL2(opened.dims)
    codes, vectors = faiss.IndexBinaryIDMap(held), faiss.IndexIDMap(kept)
    octets = np.ascontiguousarray(opened.codes.view(np.uint8)[:, : BITS // 8])
    codes.add_with_ids(octets, opened.ids.astype(np.int64))
    vectors.add_with_ids(np.asarray(opened.features, np.float32), opened.ids.astype(np.int64))
    faiss.write_index_binary(codes, str(binary))
    faiss.write_index(vectors, str(flat))


def test_exported_files_equal_those_of_faiss(path, tmp_path):
    updates.remove(path, [1, 2, 17])
    exchange.export_faiss(path, binary=tmp_path / "b.ours", flat=tmp_path / "f.ours")
    write_with_faiss(store.load(path), tmp_path / "b.faiss", tmp_path / "f.faiss")
    for name in "bf":
        ours, theirs = (tmp_path / f"{name}.{who}" for who in ("ours", "faiss"))
        assert ours.read_bytes() == theirs.read_bytes()
    nearest = faiss.read_index(str(tmp_path / "f.ours")).search(items([18])[1], 1)[1]
    assert nearest.tolist() == [[18]]


def test_codes_are_padded_to_whole_bytes(tmp_path, rng):
    bits = rng.random((5, 13)) < 0.5
    np.save(tmp_path / "bits.npy", bits)
    np.save(tmp_path / "wide.npy", np.ones((5, 2)))
    arrays = tmp_path / "bits.npy", tmp_path / "wide.npy"
    exchange.import_npy(tmp_path / "i", *arrays, bits=13, model="", dtype="float16")
    exchange.export_faiss(tmp_path / "i", binary=tmp_path / "b", flat=tmp_path / "f")
    outer = faiss.read_index_binary(str(tmp_path / "b"))  # owns the inner index
    inner = faiss.downcast_IndexBinary(outer.index)
    octets = faiss.vector_to_array(inner.xb).reshape(5, 2)
    np.testing.assert_array_equal(octets, np.packbits(bits, axis=1, bitorder="little"))
    exchange.import_faiss(tmp_path / "j", tmp_path / "b", tmp_path / "f", bits=13, model="")
    np.testing.assert_array_equal(
        store.load(tmp_path / "j").codes, store.load(tmp_path / "i").codes
    )
    with pytest.raises(errors.StoreError, match="2 bytes, which do not fit 8 bits"):
        exchange.import_faiss(tmp_path / "k", tmp_path / "b", tmp_path / "f", bits=8, model="")


def test_import_of_files_written_by_faiss(path, tmp_path):
    updates.remove(path, [1, 2, 17])
    opened = store.load(path)
    write_with_faiss(opened, tmp_path / "b", tmp_path / "f")
    exchange.import_faiss(tmp_path / "i", tmp_path / "b", tmp_path / "f", model="x")
    got = store.load(tmp_path / "i", model="x", verify=True)
    assert got.bits == BITS
    np.testing.assert_array_equal(got.codes, opened.codes)
    np.testing.assert_array_equal(got.features, opened.features)
    np.testing.assert_array_equal(got.records.column("faiss_id"), opened.ids)


def test_import_without_an_id_map_and_of_an_empty_index(tmp_path):
    for n in (3, 0):
        codes, vectors = faiss.IndexBinaryFlat(16), faiss.IndexFlatL2(2)
        codes.add(np.arange(2 * n, dtype=np.uint8).reshape(n, 2))
        vectors.add(np.arange(2 * n, dtype=np.float32).reshape(n, 2))
        faiss.write_index_binary(codes, str(tmp_path / "b"))
        faiss.write_index(vectors, str(tmp_path / "f"))
        exchange.import_faiss(tmp_path / "i", tmp_path / "b", tmp_path / "f", model="x")
        got = store.load(tmp_path / "i")
        np.testing.assert_array_equal(got.codes[:, 0], [0x0100, 0x0302, 0x0504][:n])
        np.testing.assert_array_equal(got.features, np.arange(2.0 * n).reshape(n, 2))


def test_an_npz_file_is_refused(tmp_path):
    np.savez(tmp_path / "both.npz", codes=np.zeros((2, 1), np.uint32))
    with pytest.raises(errors.StoreError, match=r"both\.npz: contains several arrays"):
        exchange.import_npy(tmp_path / "i", *[tmp_path / "both.npz"] * 2, bits=8, model="")


def test_other_files_are_refused(path, tmp_path):
    write_with_faiss(store.load(path), tmp_path / "b", tmp_path / "f")
    graph = faiss.IndexHNSWFlat(4, 8)
    graph.add(np.zeros((3, 4), np.float32))
    faiss.write_index(graph, str(tmp_path / "hnsw"))
    raw = (tmp_path / "f").read_bytes()
    (tmp_path / "short").write_bytes(raw[:-1])
    (tmp_path / "stub").write_bytes(raw[:9])
    (tmp_path / "other").write_bytes(raw[:-8] + struct.pack("<q", 77))
    for name, error in (
        ("hnsw", "hnsw: faiss index of type 'IH"),
        ("short", "short: damaged"),
        ("stub", "stub: damaged"),
        ("other", "must have the same ids"),
        ("b", "a float index"),
    ):
        with pytest.raises(errors.StoreError, match=error):
            exchange.import_faiss(tmp_path / "i", tmp_path / "b", tmp_path / name, model="")
    with pytest.raises(FileNotFoundError, match="none"):
        exchange.import_faiss(tmp_path / "i", tmp_path / "b", tmp_path / "none", model="")
    assert not (tmp_path / "i").exists()
