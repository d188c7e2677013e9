"""Which tasks the stand-in of Runware takes, and what it answers to those it does not."""

import re
from typing import Any

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
AIR = re.compile(r"[a-z0-9-]+:[\w.-]+@[\w.-]+")
# Seconds that some models take; the others take whole seconds up to this many.
DURATIONS: dict[str, tuple[float, ...]] = {
    "klingai:6@0": (5, 10),
    "klingai:6@1": (5, 10),
    "google:3@2": (4, 6, 7, 8),
    "pixverse:1@1": (5, 8),
    "minimax:1@1": (6,),
    "vidu:1@1": (5,),
    "runware:201@1": (5, 10),
}
MAX_SECONDS = 30.0
MAX_PROMPT = 3000
KNOWN = frozenset(
    {
        *("taskType", "taskUUID", "model", "positivePrompt", "negativePrompt", "seed", "steps", "CFGScale"),
        *("duration", "width", "height", "resolution", "fps", "deliveryMethod", "outputType", "outputFormat"),
        *("outputQuality", "numberResults", "includeCost", "webhookURL", "ttl", "safety", "frameImages", "inputs"),
        *("providerSettings", "settings", "uploadEndpoint"),
    }
)


def wrong_video(task: dict[str, Any]) -> dict[str, Any] | None:
    """The error of a `videoInference` task, None for one that is taken."""
    if unknown := sorted(set(task) - KNOWN):
        return error(task, "unsupportedParameter", f"Unsupported parameter '{unknown[0]}'.", unknown[0])
    if not isinstance(task.get("taskUUID"), str) or not UUID4.fullmatch(task["taskUUID"]):
        return error(task, "invalidTaskUUID", "'taskUUID' must be a UUID v4.", "taskUUID")
    model = task.get("model")
    if not isinstance(model, str) or not AIR.fullmatch(model):
        return error(task, "invalidModel", "'model' must be an AIR identifier.", "model")
    prompt = task.get("positivePrompt")
    if not isinstance(prompt, str) or not 2 <= len(prompt) <= MAX_PROMPT:
        return error(task, "invalidPositivePrompt", "'positivePrompt' has 2 to 3000 characters.", "positivePrompt")
    return _wrong_shape(task, model)


def _wrong_shape(task: dict[str, Any], model: str) -> dict[str, Any] | None:
    duration = task.get("duration")
    allowed = DURATIONS.get(model)
    fits = isinstance(duration, int | float) and 0 < duration <= MAX_SECONDS
    if not fits or (allowed is not None and duration not in allowed):
        return error(task, "invalidDuration", f"Duration not supported by {model}.", "duration")
    sizes = (task.get("width"), task.get("height"))
    if None in sizes and "resolution" not in task:
        return error(task, "missingDimensionParameters", "Width and height are needed.", ["width", "height"])
    if any(not isinstance(each, int) or each % 8 or not 128 <= each <= 3840 for each in sizes if each is not None):
        return error(task, "invalidDimensions", "Width and height are multiples of 8.", ["width", "height"])
    if task.get("deliveryMethod", "async") != "async":
        return error(task, "invalidDeliveryMethod", "Video is delivered asynchronously.", "deliveryMethod")
    return None


def error(task: dict[str, Any], code: str, message: str, parameter: Any = None, **more: Any) -> dict[str, Any]:
    """An error object as the interface has them."""
    found = {
        "code": code,
        "message": message,
        "parameter": parameter,
        "taskType": task.get("taskType"),
        "taskUUID": task.get("taskUUID"),
        "documentation": "https://runware.ai/docs",
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}
