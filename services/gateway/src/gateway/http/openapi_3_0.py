"""OpenAPI 3.1 in the words of 3.0.3, which is what the bundled documentation page can read."""

from typing import Any


def to_3_0(value: Any) -> Any:
    """A document or schema of 3.1 in the words of 3.0.3, which is what the bundled documentation page can read."""
    if isinstance(value, list):
        return [to_3_0(item) for item in value]
    if not isinstance(value, dict):
        return value
    old = {
        # Names of properties are not keywords.
        key: {name: to_3_0(inner) for name, inner in item.items()} if key == "properties" else to_3_0(item)
        for key, item in value.items()
    }
    if "openapi" in old:
        old["openapi"] = "3.0.3"
        old["info"]["license"].pop("identifier")
    return _schema_to_3_0(old)


def _schema_to_3_0(old: dict[str, Any]) -> dict[str, Any]:
    if "const" in old:
        old["enum"] = [old.pop("const")]
    if isinstance(old.get("type"), list):
        old["nullable"] = "null" in old["type"]
        [old["type"]] = [kind for kind in old["type"] if kind != "null"]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in old and not isinstance(old[bound], bool):
            old[limit], old[bound] = old[bound], True
    options = old.get("anyOf", [])
    if {"type": "null"} in options:
        old["anyOf"] = [option for option in options if option != {"type": "null"}]
        old["nullable"] = True
    return old
