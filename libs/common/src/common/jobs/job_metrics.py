"""Metrics of jobs."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

LONG_SECONDS = (*SECONDS, 300, 900, 3600)

JOBS_ACCEPTED = Counter("sonant_jobs_accepted_total", "Jobs taken in, by kind.", ["kind"])
JOBS_ENDED = Counter("sonant_jobs_ended_total", "Jobs that ended, by kind and outcome.", ["kind", "outcome"])
JOBS_POSTPONED = Counter("sonant_jobs_postponed_total", "Tries of jobs that failed for a passing reason.", ["kind"])
JOBS_RESUMED = Counter("sonant_jobs_resumed_total", "Jobs taken over from a worker that died.", ["kind"])
JOBS_LOST = Counter(
    "sonant_jobs_lost_total", "Jobs that another worker took over while they were at work here.", ["kind"]
)
JOBS_WAITING = Gauge("sonant_jobs_waiting", "Jobs that wait, by kind, of all organisations and processes.", ["kind"])
JOBS_RUNNING = Gauge("sonant_jobs_running", "Jobs at work in this process, by kind.", ["kind"])
JOB_BUGS = Counter("sonant_job_bugs_total", "Exceptions of jobs that no verdict foresaw.", ["kind"])
JOB_SECONDS = Histogram(
    "sonant_job_seconds", "From the acceptance of a job to its end, by kind.", ["kind"], buckets=LONG_SECONDS
)
JOB_WAIT_SECONDS = Histogram(
    "sonant_job_wait_seconds", "From the acceptance of a job to its start, by kind.", ["kind"], buckets=LONG_SECONDS
)
JOBS_DELETED = Counter("sonant_jobs_deleted_total", "Jobs deleted with their assets, their time being over.")
