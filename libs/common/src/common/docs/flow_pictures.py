"""The page of the data flows: a picture and a table of each, made of their declarations."""

from common.docs.markdown import code, page, table
from common.events.flows import FLOWS, Flow

INTRO = (
    "Each flow is one declaration in `common/events/flows.py`. Jobs take their steps from there, and so do AsyncAPI "
    "(`x-flows`) and this page. When a job reaches a step, `media.job.progressed` says so on the log. A step that "
    "fails for a passing reason is tried again alone: what the steps before it made is remembered."
)


def reference() -> str:
    """The page."""
    return page("Data flows", INTRO, *(_section(flow) for flow in FLOWS))


def _section(flow: Flow) -> str:
    rows = [(code(step.name), step.makes) for step in flow.steps]
    about = f"A job of the kind {code(flow.kind)}, which begins with {flow.begins_with}."
    return "\n\n".join([f"## {flow.title}", about, _picture(flow), table(("step", "makes"), rows)])


def _picture(flow: Flow) -> str:
    begin = [f'  begin(["{flow.begins_with}"]) --> {step.name}' for step in flow.steps[:1]]
    boxes = [f'  {step.name}["{step.name}"]' for step in flow.steps]
    arrows = [f"  {before} --> {name}" for before, name in flow.edges()]
    return "\n".join(["```mermaid", "flowchart LR", *boxes, *begin, *arrows, "```"])
