"""What every test may ask for."""

from hypothesis import settings

pytest_plugins = [
    "tests.support.expected",
    "tests.support.models",
    "tests.support.sonant",
    "tests.support.engines",
    "tests.support.kafka",
    "tests.support.llm_stream",
    "tests.support.resources",
]

# No test fails on a measured time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
