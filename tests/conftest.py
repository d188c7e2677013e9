"""What every test may ask for."""

pytest_plugins = [
    "tests.support.engines",
    "tests.support.kafka",
    "tests.support.sonant",
    "tests.support.llm_stream",
    "tests.support.resources",
]
