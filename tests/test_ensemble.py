"""ensemble: one file a member; what has no ensemble is one member."""

import numpy as np
import pytest

from sosie import ensemble
from sosie.errors import IntermediateError
from sosie.surrogates import load, save
from test_wgan_gp import CONDITIONS, make_surrogate


def test_members_are_the_first_masks_whatever_their_number(tmp_path):
    save(tmp_path / "trained.h5", make_surrogate(4))
    few = [str(tmp_path / f"few/{k}.h5") for k in range(2)]
    many = [str(tmp_path / f"many/{k}.h5") for k in range(4)]
    for outs in (few, many):
        ensemble.run([str(tmp_path / "trained.h5")], outs)
    draws = {
        path: load(path).sample(CONDITIONS, np.random.default_rng(1)) for path in (*few, *many)
    }
    assert np.array_equal(draws[few[0]], draws[many[0]])
    assert np.array_equal(draws[few[1]], draws[many[1]])
    assert len({draws[path].tobytes() for path in many}) == 4


def test_more_members_than_masks_are_refused_and_leave_nothing(tmp_path):
    save(tmp_path / "trained.h5", make_surrogate(2))
    with pytest.raises(IntermediateError, match="3 members of 2 trained masks"):
        ensemble.run(
            [str(tmp_path / "trained.h5")], [str(tmp_path / f"out/{k}.h5") for k in range(3)]
        )
    assert not (tmp_path / "out").exists()
