"""What a function reports outside a worker process: nothing, to nobody."""

from common.kernel.worker_main import report


def test_a_report_outside_a_worker_process_goes_nowhere() -> None:
    report(0.5)
