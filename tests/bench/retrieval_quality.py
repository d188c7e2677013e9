"""`python -m tests.bench retrieval`: how well documents are found, on questions that others have labelled.

The system runs as users run it: every passage is a document that is posted, every ranking is an answer of
`POST /v1/search`. What a model would be shown is cut by the code that cuts it at talk time.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from common.events.search import SearchResults
from llm_stream.retrieval.relevance_cut import relevant
from llm_stream.retrieval.talk_rules import PASSAGES
from llm_stream.retrieval.talk_search import RERANKED
from tests.bench.labelled_sets import LabelledSet, labelled_sets
from tests.bench.ranking_measures import Measures, measures
from tests.bench.system import BenchError, Target, scratch_directory, sonant_up, write_models_file
from tests.bench.tables import table
from tests.support.models import TEXT_MODELS, fetched

MODES = ("lexical", "vector", "fused", "reranked")
# The cut by relevance was tuned on this one.
TUNED_ON = "squad"
CONNECTIONS = 4
# A machine that others use too may take its time.
BUSY = frozenset({429, 503, 504})
TRIES = 120
INGEST_SECONDS = 3600.0
NOBODY = "http://127.0.0.1:9"


@dataclass
class SetReport:
    """What one set shows. `shown` are means over questions: of passages in the context, and of those that bear answers.

    `right` is the share of shown passages that stand in an article with the answer, None where articles say nothing.
    `silent` is the share of questions of another set for which nothing is shown.
    """

    name: str
    passages: int
    questions: int
    modes: dict[str, Measures] = field(default_factory=dict)
    shown: float = 0.0
    answered: float = 0.0
    right: float | None = None
    silent: float | None = None


class Library:
    """A running system that has taken a set in: a project for each, and a document for each passage."""

    def __init__(self, target: Target, http: aiohttp.ClientSession) -> None:
        self._target = target
        self._http = http
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the API answers; one that is busy is asked again. Raises ClientResponseError."""
        for _ in range(TRIES):
            async with self._places, self._http.request(method, f"{self._target.url}{path}", json=body) as response:
                if response.status not in BUSY:
                    response.raise_for_status()
                    answer: dict[str, Any] = await response.json()
                    return answer
            await asyncio.sleep(1.0)
        raise BenchError(f"{path} stays busy")

    async def take_in(self, labelled: LabelledSet) -> dict[str, str]:
        """The passages by the names of their documents, once all are found."""
        named = {f"{number:05d}": passage for number, passage in enumerate(labelled.passages)}
        made = [
            self.call("POST", "/v1/documents", {"name": name, "text": text, "project_id": labelled.name})
            for name, text in named.items()
        ]
        jobs = [job["id"] for job in await asyncio.gather(*made)]
        async with asyncio.timeout(INGEST_SECONDS):
            for job in jobs:
                while (shown := await self.call("GET", f"/v1/jobs/{job}"))["state"] != "completed":
                    assert shown["state"] not in ("failed", "cancelled"), shown
                    await asyncio.sleep(0.2)
        return named

    async def search(self, project: str, question: str, mode: str, k: int) -> SearchResults:
        """The passages of a project that fit a question."""
        body = {"query": question, "project_id": project, "mode": mode, "k": k}
        return SearchResults.model_validate(await self.call("POST", "/v1/search", body))


async def report_of(library: Library, labelled: LabelledSet, foreign: Sequence[str]) -> SetReport:
    """Take a set in and ask its questions, and some that it has no answer to."""
    report = SetReport(labelled.name, len(labelled.passages), len(labelled.questions))
    began = time.monotonic()
    named = await library.take_in(labelled)
    print(f"{labelled.name}: {len(named)} documents in {time.monotonic() - began:.0f} s", flush=True)
    answers = list(labelled.questions.values())
    for mode in MODES:
        found = await _asked(library, labelled.name, list(labelled.questions), mode)
        rankings = [_passages(results, named) for results in found]
        report.modes[mode] = measures(rankings, answers)
    _judge(report, labelled, [relevant(results)[:PASSAGES] for results in found], named)
    silent = [not relevant(results) for results in await _asked(library, labelled.name, foreign, "reranked")]
    report.silent = sum(silent) / len(silent) if silent else None
    return report


async def _asked(library: Library, project: str, questions: Sequence[str], mode: str) -> list[SearchResults]:
    return await asyncio.gather(*(library.search(project, question, mode, RERANKED) for question in questions))


def _passages(results: SearchResults, named: Mapping[str, str]) -> list[str]:
    """The passages of the set, each once: a long one is found in several pieces."""
    return list(dict.fromkeys(named[passage.document] for passage in results.data))


def _judge(report: SetReport, labelled: LabelledSet, shown: Sequence[Sequence[Any]], named: Mapping[str, str]) -> None:
    """What of the passages that a model would be shown is right, by the labels."""
    answers = list(labelled.questions.values())
    texts = [[named[passage.document] for passage in each] for each in shown]
    pairs = list(zip(texts, answers, strict=True))
    report.shown = sum(map(len, texts)) / len(texts)
    report.answered = sum(not right.isdisjoint(each) for each, right in pairs) / len(pairs)
    articles = labelled.passages
    judged = [articles[text] in {articles[one] for one in right} for each, right in pairs for text in each]
    if all(articles.values()):
        report.right = sum(judged) / len(judged) if judged else None


def print_reports(reports: Sequence[SetReport]) -> None:
    """Tables of rankings, and of what a model would be shown."""
    head = ["set, mode", "recall@1", "recall@5", "recall@10", "MRR@10", "nDCG@10"]
    rows = [
        [f"{report.name} {mode}", *(f"{value:.3f}" for value in astuple(found))]
        for report in reports
        for mode, found in report.modes.items()
    ]
    print(f"\n{table(head, rows)}\n")
    head = [
        "shown to a model",
        "documents",
        "questions",
        "passages",
        "with the answer",
        "of its article",
        "none, foreign",
    ]
    rows = [
        [
            f"{report.name}{' (tuned on)' if report.name == TUNED_ON else ''}",
            f"{report.passages:,}",
            f"{report.questions:,}",
            f"{report.shown:.2f}",
            f"{report.answered:.3f}",
            "-" if report.right is None else f"{report.right:.3f}",
            "-" if report.silent is None else f"{report.silent:.3f}",
        ]
        for report in reports
    ]
    print(f"{table(head, rows)}\n")
    for report in reports:
        _print_order(report)


def _print_order(report: SetReport) -> None:
    """Say where mixing stages did not help, by MRR@10."""
    lexical, vector, fused, reranked = (report.modes[mode].mrr_10 for mode in MODES)
    if fused <= max(lexical, vector):
        print(f"{report.name}: fused ({fused:.3f}) does not beat the better of both ({max(lexical, vector):.3f})")
    if reranked <= fused:
        print(f"{report.name}: reranked ({reranked:.3f}) does not beat fused ({fused:.3f})")


async def run(target: Target, options: argparse.Namespace) -> list[SetReport]:
    """Measure every set that the options name."""
    sets = {name: labelled.sample(options.passages, options.questions) for name, labelled in labelled_sets().items()}
    chosen = [sets[name] for name in options.sets.split(",")] if options.sets else list(sets.values())
    reports = []
    headers = {"Authorization": f"Bearer {target.key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for labelled in chosen:
            # What somebody asks who means something else altogether.
            other = sets["amazon" if labelled.name != "amazon" else "squad"]
            foreign = list(other.questions)[: options.foreign]
            reports.append(await report_of(Library(target, http), labelled, foreign))
            print_reports(reports[-1:])
    return reports


def main(arguments: Sequence[str]) -> int:
    """Measure, and print; 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench retrieval", description=__doc__)
    parser.add_argument("--sets", default="", help="comma list of squad, amazon, reddit, nyt, wiki, boolq; all")
    parser.add_argument("--passages", type=int, default=0, help="of each set; 0 is all")
    parser.add_argument("--questions", type=int, default=500, help="of each set; 0 is all")
    parser.add_argument("--foreign", type=int, default=100, help="questions of another set, which have no answer")
    options = parser.parse_args(arguments)
    with scratch_directory() as scratch:
        models = write_models_file(Path(scratch) / "models.toml", NOBODY)
        settings = {"SONANT_MODELS_DIR": str(fetched(*TEXT_MODELS))}
        with sonant_up(scratch / "data", models, None, settings) as system:
            reports = asyncio.run(run(system.target, options))
    print_reports(reports)
    return 0
