"""The bench of alerts leaves none out."""

from tests.bench.alert_faults.__main__ import phases, shipped


def test_each_shipped_alert_has_its_fault() -> None:
    faults = [fault for phase in phases().values() for lane in phase.lanes for fault in lane]
    provoked = [rule for fault in faults for rule in fault.rules]
    assert sorted(provoked) == sorted(shipped())
