"""One server for the tests of a module; each test uses names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.app_under_test import app
from tests.support.servers import Threaded, in_thread


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded
