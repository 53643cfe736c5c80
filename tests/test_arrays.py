"""Files of arrays come back as they were written, or are refused."""

import h5py
import numpy as np
import pytest

from sosie.arrays import read_arrays, write_arrays
from sosie.errors import IntermediateError

RNG = np.random.default_rng(1)
ARRAYS = {
    "a/weight": RNG.normal(size=(50, 20)).astype(np.float32),
    "a/b/count": np.arange(7),
    "flag": np.array([True, False]),
    "number": np.array(2.5),
    "empty": np.empty((0, 3)),
    "bytes": np.array([b"ab", b"c"]),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.h5"
    write_arrays(path, "moments", ARRAYS, {"text": "µ" * 50000, "list": [1, None, 0.1]})
    return path


def refused(path, reason, kind="moments"):
    with pytest.raises(IntermediateError, match=reason) as caught:
        read_arrays(path, kind, "moments")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("run moments again to make it")
    assert "\n" not in message


def test_round_trip(path):
    arrays, attributes = read_arrays(path, "moments", "moments")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert attributes == {"text": "µ" * 50000, "list": [1, None, 0.1]}


def test_same_content_same_bytes(path, tmp_path):
    arrays, attributes = read_arrays(path, "moments", "moments")
    write_arrays(tmp_path / "b.h5", "moments", {name: arrays[name] for name in ARRAYS}, attributes)
    assert (tmp_path / "b.h5").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("what", ["a/weight", "text"])
def test_one_damaged_byte_is_noticed(path, what):
    data = bytearray(path.read_bytes())
    wanted = ARRAYS["a/weight"].tobytes() if what == "a/weight" else ("µ" * 50000).encode()
    data[data.index(wanted) + len(wanted) // 2] ^= 1
    path.write_bytes(data)
    refused(path, "digest|decode")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_cut_file(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "refused")


def test_wrong_kind_and_missing_file(path, tmp_path):
    refused(path, "not a file of kind 'surrogate'", kind="surrogate")
    refused(tmp_path / "b.h5", "No such file")
    (tmp_path / "c.h5").write_text("text")
    refused(tmp_path / "c.h5", "signature not found")


@pytest.mark.parametrize("link", [h5py.SoftLink("/arrays/flag"), h5py.ExternalLink("b.h5", "/x")])
def test_links_are_refused(path, link):
    with h5py.File(path, "a") as file:
        file["arrays/a/link"] = link
    refused(path, "'a/link' is a link")


def test_data_elsewhere_is_refused(path, tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((3,), dtype=int)
        layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "x", (3,))
        file.create_virtual_dataset("arrays/virtual", layout)
    refused(path, "'virtual' is stored elsewhere")
    with h5py.File(path, "a") as file:
        del file["arrays/virtual"]
        raw = [(str(tmp_path / "raw"), 0, 24)]
        file.create_dataset("arrays/outside", (3,), dtype=int, external=raw)
    refused(path, "'outside' is stored elsewhere")


def test_array_without_digest_is_refused(path):
    with h5py.File(path, "a") as file:
        file["arrays/new"] = np.arange(3)
    refused(path, "'new' does not match its digest")
