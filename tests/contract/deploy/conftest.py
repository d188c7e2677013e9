"""The deployment holds together: compose, images, settings, metrics, boards and alerts name the same things."""

import pytest

from tests.support.deploy import init_env, read_env


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A .env as an operator gets it."""
    path = tmp_path_factory.mktemp("env") / ".env"
    assert init_env(str(path)).returncode == 0
    return read_env(path)
