"""The flows and the jobs that take their steps from them."""

from common.docs import asyncapi, flow_pictures
from common.events.analyses import ANALYSIS_KIND
from common.events.flows import CONTENT_CREATION, FLOWS, VIDEO_PROCESSING, Flow, FlowStep
from media.content.analysis_steps import NAMES
from media.kinds import KINDS


def test_each_flow_is_a_kind_of_job_with_its_steps() -> None:
    kinds = {kind.spec.kind: kind.spec for kind in KINDS}
    for flow in FLOWS:
        assert kinds[flow.kind].steps == flow.names
        assert {name for edge in flow.edges() for name in edge} <= set(flow.names)
    assert VIDEO_PROCESSING.kind == ANALYSIS_KIND
    assert VIDEO_PROCESSING.names == ("fetch", "prepare", *NAMES, "store")


def test_a_step_waits_for_the_one_before_it_unless_it_says_otherwise() -> None:
    flow = Flow("a", "A", "x", (FlowStep("b", ""), FlowStep("c", ""), FlowStep("d", "", after=("b",))))
    assert flow.edges() == [("b", "c"), ("b", "d")]
    assert ("plan", "narrate") in CONTENT_CREATION.edges()
    assert ("plan", "film") in CONTENT_CREATION.edges()


def test_picture_and_asyncapi_are_made_of_the_declarations() -> None:
    page, described = flow_pictures.reference(), asyncapi.document()["x-flows"]
    for flow, shown in zip(FLOWS, described, strict=True):
        assert [step["name"] for step in shown["steps"]] == list(flow.names)
        for before, name in flow.edges():
            assert f"  {before} --> {name}\n" in page
