"""One simulated node and three of its nights, measured once for all tests of examples/ci."""

import shutil
from pathlib import Path

import pytest

from tests.examples.node import HEALTHY, REPOSITORY, SLOW, Node, said
from tests.examples.steps import Ran


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """What a checkout would hold, new files included."""
    listed = said("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY)
    if listed.returncode:
        pytest.skip("not a git checkout: what a clone would hold is unknown")
    folder = tmp_path_factory.mktemp("clone")
    for name in listed.stdout.splitlines():
        if not name.startswith(("reports/", "tests/")) and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def node(tmp_path_factory, clone) -> Node:
    return Node(tmp_path_factory.mktemp("node"), clone)


@pytest.fixture(scope="session")
def blessed(node) -> Ran:
    return node.night(HEALTHY.format(1), bless=True)


@pytest.fixture(scope="session")
def slow(node, blessed) -> Ran:
    return node.night(SLOW.format(2))


@pytest.fixture(scope="session")
def healthy(node, slow) -> Ran:
    return node.night(HEALTHY.format(3))
