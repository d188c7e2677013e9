"""For a worker process in which the engine of the local voice is not installed."""

import sys

# An import of it fails from now on, as of a package that is not there.
sys.modules["hibari"] = None  # type: ignore[assignment]
