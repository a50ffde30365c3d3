"""Requests that are damaged or hostile, as lines and as bodies: each is answered, and so are the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from fuzz.files.model_files import SHAPE
from fuzz.mutation import changed_bytes, changed_json
from fuzz.processes import forked
from fuzz.search import Outcome
from fuzz.verdict import fault_of_error, fault_of_line
from gpt2cli.cli.input.line_feed import ByteSource, open_feed
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.lines import Answer, InOrder, LineWorker, answer_lines
from gpt2cli.serving.score_lines import ScoreLines

if TYPE_CHECKING:
    from servers import Running

# An id and a seed, so that an answer does not depend on what stands beside its line.
COMPLETIONS: tuple[Mapping[str, Any], ...] = (
    {"id": "a", "prompt": "ab", "seed": 1, "max_tokens": 3},
    {"id": 2, "prompt": [5, 6, 7], "seed": 2, "max_tokens": 2, "temperature": 0, "logprobs": 1},
    {"id": "c", "prompt": "a", "seed": 3, "max_tokens": 2, "num_samples": 2, "stop": ["b"], "echo": True},
    {"id": "d", "prompt": "a", "seed": 4, "max_tokens": 2, "bias": {"a": 1.5}, "stream": True},
    {
        "custom_id": "e",
        "method": "POST",
        "url": "/v1/completions",
        "body": {"prompt": "a", "max_tokens": 2, "seed": 5, "stop": "b", "n": 1},
    },
)
SCORES: tuple[Mapping[str, Any], ...] = (
    {"id": "a", "text": "the cat"},
    {"id": 2, "context": "the ", "continuation": "cat"},
)
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/completions": {"prompt": ["a", "b"], "max_tokens": 2, "seed": 1, "stop": ["x"], "logprobs": 1},
    "/tokenize": {"prompt": "a b", "add_special_tokens": False},
    "/detokenize": {"tokens": [1, 2, 3]},
    "/gpt2/generate": {"settings": {"temperature": 0.5, "max_tokens": 2, "seed": 1}, "prompt": "a"},
    "/gpt2/score": {"settings": {"window": 8}, "texts": [{"content": "a b"}]},
    "/gpt2/next": {"settings": {"top": 2}, "text": "a"},
    "/gpt2/unknown": {"texts": ["a"]},
    "/gpt2/model": {"name": "x"},
}
SOUND = {"prompt": "ab", "max_tokens": 3, "seed": 9}
MOST_SAMPLES = 300


class Lines:
    """Lines for `--jsonl`, of which some are changed; the others get the answers that they get alone."""

    name = "lines"

    def prepare(self, folder: Path) -> None:
        """Make the model."""
        self._path = folder / "lines.jsonl"
        self._model = _make(folder / "model")

    def attempt(self, draw: Random) -> Outcome:
        """Answer the lines."""
        kind, lines, sound = self._plan(draw)
        if _asks_for_much(lines):
            return Outcome("endless")
        self._path.write_bytes(b"\n".join(lines))
        try:
            answers = self._answers(kind)
        except Exception as error:
            return Outcome("raised", f"the run ended: {fault_of_error(error) or error}")
        # A change may put a line end into a line.
        split = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        wanted = [number for number, line in enumerate(split, 1) if line.strip(b" \t\n\r\x0b\x0c")]
        if [answer.line for answer in answers if answer.last] != wanted:
            return Outcome("lost", f"lines {wanted} got answers {[answer.line for answer in answers]}")
        failed = sum(answer.failed for answer in answers)
        return Outcome("with errors" if failed else "answered", self._fault(kind, answers, split, sound))

    def keep(self, draw: Random, folder: Path) -> str:
        """Write the lines."""
        kind, lines, _ = self._plan(draw)
        folder.mkdir()
        (folder / "lines.jsonl").write_bytes(b"\n".join(lines))
        return f"gpt2 {kind} --jsonl lines.jsonl"

    def _plan(self, draw: Random) -> tuple[str, list[bytes], set[bytes]]:
        """Return the command, its lines, and those of them that are sound."""
        kind = draw.choice(("generate", "generate", "score"))
        known = [json.dumps(line).encode() for line in (COMPLETIONS if kind == "generate" else SCORES)]
        lines = []
        for _ in range(draw.randrange(2, 6)):
            line = draw.choice(known)
            # Other lines end where this one does.
            changed = line if draw.random() < 0.4 else _changed(draw, line).replace(b"\n", b" ")
            lines.append(changed)
        return kind, lines, set(known)

    def _fault(self, kind: str, answers: Sequence[Answer], lines: Sequence[bytes], sound: set[bytes]) -> str:
        for answer in answers:
            value = _without_place(answer.data)
            line = lines[answer.line - 1]
            if line in sound and answer.last and _made(value) != self._alone(kind, line):
                return f"another answer among others: {value!r}, not {self._alone(kind, line)!r}"
            if answer.failed and (fault := _fault_of_error(value.get("error"))):
                return fault
        return ""

    def _alone(self, kind: str, line: bytes) -> Any:
        if (kind, line) not in self._known:
            self._path.write_bytes(line)
            self._known[kind, line] = _made(_without_place(self._answers(kind)[-1].data))
        return self._known[kind, line]

    def _answers(self, kind: str) -> list[Answer]:
        worker: LineWorker
        if kind == "generate":
            worker = CompletionLines(self._loaded, SampleSettings(max_tokens=8), 0)
        else:
            worker = ScoreLines(self._loaded, ScoringSettings())
        written: list[Answer] = []
        source = ByteSource(str(self._path))
        answer_lines(open_feed(source, None, lambda _: True), worker, written.append, InOrder(64))
        return written

    @cached_property
    def _known(self) -> dict[tuple[str, bytes], Any]:
        return {}

    @cached_property
    def _loaded(self) -> LoadedModel:
        return _load(self._model)


class Bodies:
    """Bodies for a server: each is answered or refused, and the next client gets what it asks for."""

    name = "bodies"

    def prepare(self, folder: Path) -> None:
        """Make the model."""
        self._model = _make(folder / "model")

    def attempt(self, draw: Random) -> Outcome:
        """Send a changed body, and then a sound one."""
        path, body = self._plan(draw)
        if _asks_for_much([body]):
            return Outcome("endless")
        status, answer = self._ask(path, body)
        if status >= 500:
            return Outcome(f"{status}", f"it failed: {answer[:500]!r}")
        fault = ""
        if status >= 400:
            fault = _fault_of_error(json.loads(answer)["error"])
        elif (status, path) == (200, "/v1/completions") and answer.startswith(b"data: "):
            fault = "" if answer.endswith(b"data: [DONE]\n\n") else f"a stream that does not end: {answer!r}"
        return Outcome(f"{status}", fault or self._fault_of_next())

    def keep(self, draw: Random, folder: Path) -> str:
        """Write the body."""
        path, body = self._plan(draw)
        folder.mkdir()
        (folder / "body.json").write_bytes(body)
        return f"POST {path}"

    def _plan(self, draw: Random) -> tuple[str, bytes]:
        path = draw.choice(list(BODIES))
        return path, _changed(draw, json.dumps(BODIES[path]).encode())

    def _fault_of_next(self) -> str:
        status, answer = self._ask("/v1/completions", json.dumps(SOUND).encode())
        choices = json.loads(answer).get("choices")
        self._first = getattr(self, "_first", choices)
        if status == 200 and choices == self._first:
            return ""
        return f"the next client got {status}, {answer!r}"

    def _ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        kind = {"Content-Type": "application/json"}
        server = self._server
        with closing(HTTPConnection(server.host, server.port, timeout=forked.MOST_WAITING)) as connection:
            try:
                connection.request("POST", path, body, kind)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, HTTPException) as error:
                return 599, repr(error).encode()

    @cached_property
    def _server(self) -> Running:
        # Threads would not survive the fork that makes the process of the attempts.
        from servers import running

        self._running = running(_load(self._model))
        return self._running.__enter__()


def _make(folder: Path) -> Path:
    from checkpoints import save_model_folder

    forked.call(partial(save_model_folder, folder, **SHAPE))
    return folder


def _load(folder: Path) -> LoadedModel:
    return load(str(folder), Compute(device="cpu", threads=1), offline=True)


def _changed(draw: Random, data: bytes) -> bytes:
    return changed_bytes(draw, data) if draw.random() < 0.2 else changed_json(draw, data)


def _asks_for_much(lines: Sequence[bytes]) -> bool:
    """Return whether a line asks for what rightly takes long: very many samples."""
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        fields = value if isinstance(value, dict) else {}
        inner = [fields, *(part for part in fields.values() if isinstance(part, dict))]
        counts = [part.get(name) for part in inner for name in ("n", "num_samples", "best_of")]
        if any(isinstance(count, int | float) and count > MOST_SAMPLES for count in counts):
            return True
    return False


def _without_place(data: bytes) -> Any:
    """Return an answer without what depends on where its line stands, and when it is answered."""
    value = json.loads(data)
    if value.get("response"):
        return value["response"]["body"]
    return {key: value[key] for key in value if key != "line"}


def _made(value: Any) -> Any:
    return value.get("choices", value)


def _fault_of_error(error: Any) -> str:
    """Return what is wrong with an error in JSON, or nothing."""
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return f"it is no error: {error!r}"
    if error.get("type") == "server_error":
        return f"it blames the server: {error!r}"
    return fault_of_line(json.dumps(error["message"]))
