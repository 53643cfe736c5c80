"""What the tests of the workflow share: the tiny study, run once."""

import pytest
from tiny import snakemake


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A folder in which the tiny study ran to its end, undisturbed."""
    folder = tmp_path_factory.mktemp("tiny study")
    snakemake(folder, "all")
    return folder
