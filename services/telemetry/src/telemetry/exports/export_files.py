"""The file of an export: lines of JSON as they are read, and made of them, in a worker process, CSV or Parquet."""

from pathlib import Path

from telemetry.exports.export_columns import COLUMNS

CONTENT_TYPES = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
OPTIONS = {"csv": "FORMAT csv, HEADER true", "parquet": "FORMAT parquet, COMPRESSION zstd"}
# What DuckDB may hold before it writes to its own folder.
MEMORY = "256MB"
# A line is an interaction with its texts, steps and scores; DuckDB reads none that is longer.
MAX_LINE_BYTES = 64 * 1024 * 1024


def convert(lines: str, target: str, format: str) -> None:
    """Write the lines of JSON in the file `lines` to `target` as CSV or Parquet, in bounded memory."""
    # 66 MB of a library that only an export needs.
    import duckdb

    columns = ", ".join(f"'{name}': '{type}'" for name, type in COLUMNS.items())
    source = f"read_json({_quoted(lines)}, format='newline_delimited', columns={{{columns}}}"
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": 1,
        "temp_directory": str(Path(target).parent / "spill"),
        # It loads what it has, and fetches nothing.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(config=settings) as connection:
        connection.execute(
            f"COPY (SELECT * FROM {source}, maximum_object_size={MAX_LINE_BYTES})) TO {_quoted(target)}"  # noqa: S608
            f" ({OPTIONS[format]})"
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
