"""A folder with the policy and the problems of :mod:`tests.raft.sums`."""

from pathlib import Path

import pytest

from tests.raft.sums import save_policy, write_problems


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sums")
    save_policy(folder / "policy")
    write_problems(folder)
    return folder
