"""Kept conversions and mapped checkpoints that change: the same text as before, or one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from shutil import copyfile, copytree, rmtree

from fuzz.mutation import changed_bytes, changed_safetensors
from fuzz.processes import forked, sandbox
from fuzz.search import Outcome
from fuzz.verdict import fault_of_process

MODELS = ("tiny", "other")
# More than the page that a file ends in.
BIG = {"vocab_size": 600, "n_positions": 16, "n_embd": 64, "n_layer": 2, "n_head": 2}


def make_models(folder: Path) -> None:
    """Make two models of the same shape."""
    from checkpoints import save_model_folder

    for seed, name in enumerate(MODELS):
        save_model_folder(folder / name, **BIG, seed=seed)


class Conversions:
    """A kept int8 file that is cut, swapped, zeroed or has a bit flipped; or its checkpoint is replaced."""

    name = "conversions"

    def prepare(self, folder: Path) -> None:
        """Make the models, their conversions, and the texts that they continue."""
        self._folder = folder / "a"
        self._folder.mkdir()
        forked.call(partial(make_models, self._folder))
        forked.load_the_commands()
        self._texts = {name: self._generate(name).output for name in MODELS}
        self._kept = self._folder / "kept"
        copytree(self._assets, self._kept)
        self._sound = self._folder / "sound"
        self._sound.mkdir()
        for name in MODELS:
            copytree(self._folder / name, self._sound / name)

    def attempt(self, draw: Random) -> Outcome:
        """Change a kept file, or the checkpoint behind it, and continue a text."""
        self._restore()
        self._change(draw, self._assets)
        wanted = self._texts["other" if self._is_replaced else "tiny"]
        for _ in range(2):
            ended = self._generate("tiny")
            fault = fault_of_process(ended.code, ended.errors)
            if not fault and ended.code == 0 and ended.output != wanted:
                fault = f"another text in silence: {ended.output!r}, not {wanted!r}"
            if fault:
                break
        return Outcome(f"ended with {ended.code}", fault)

    def keep(self, draw: Random, folder: Path) -> str:
        """Copy the changed files."""
        self._restore()
        kind = self._change(draw, self._assets)
        copytree(self._assets, folder)
        return kind

    @property
    def _assets(self) -> Path:
        return self._folder / "home" / "hf" / "assets"

    def _generate(self, model: str) -> forked.Ended:
        arguments = [
            "generate",
            "Once",
            "-m",
            model,
            "-s",
            "1",
            "-n",
            "12",
            "--quantize",
            "int8",
            "--threads",
            "1",
        ]
        arguments += ["--device", "cpu", "--temperature", "0.1"]
        return forked.run_command(arguments, self._folder, sandbox.environment(self._folder))

    def _restore(self) -> None:
        self._is_replaced = False
        rmtree(self._assets, ignore_errors=True)
        copytree(self._kept, self._assets)
        for name in MODELS:
            weights = self._folder / name / "model.safetensors"
            sound = self._sound / name / "model.safetensors"
            copyfile(sound, weights)
            os.utime(weights, ns=(sound.stat().st_mtime_ns, sound.stat().st_mtime_ns))

    def _change(self, draw: Random, assets: Path) -> str:
        files = sorted(path for path in assets.rglob("*") if path.is_file())
        own = [path for path in files if path.name.startswith("tiny")]
        path = draw.choice(own)
        data = path.read_bytes()
        match draw.randrange(6):
            case 0:
                at = draw.randrange(len(data))
                path.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
                return f"a bit flipped at {at}"
            case 1:
                at = draw.randrange(len(data))
                path.write_bytes(data[:at] + bytes(len(data) - at))
                return f"zeros from {at} on"
            case 2:
                others = [other for other in files if other not in own]
                copyfile(draw.choice(others), path)
                return "the file of another model"
            case 3:
                path.write_bytes(changed_bytes(draw, data))
                return "changed bytes"
            case 4:
                path.write_bytes(changed_safetensors(draw, data))
                return "a changed header"
            case _:
                # As an archive is unpacked: another content, of the same size and time.
                weights = self._folder / "tiny" / "model.safetensors"
                time = weights.stat().st_mtime_ns
                copyfile(self._sound / "other" / "model.safetensors", weights)
                os.utime(weights, ns=(time, time))
                self._is_replaced = True
                return "a replaced checkpoint"


class Mapped:
    """A checkpoint that shrinks while a command computes with it."""

    name = "mapped"

    def prepare(self, folder: Path) -> None:
        """Make a model."""
        self._folder = folder / "a"
        self._folder.mkdir()
        forked.call(partial(make_models, self._folder))
        forked.load_the_commands()
        self._sound = (self._folder / "tiny" / "model.safetensors").read_bytes()

    def attempt(self, draw: Random) -> Outcome:
        """Cut the file once the command has written its first text."""
        weights = self._folder / "tiny" / "model.safetensors"
        weights.unlink()
        weights.write_bytes(self._sound)
        size, extra = self._plan(draw)
        reader, writer = os.pipe()
        errors = self._folder / "errors"
        arguments = [
            "generate",
            "Once",
            "-m",
            "tiny",
            "-n",
            "3000",
            "--overflow",
            "slide",
            "--ignore-eos",
            *extra,
        ]
        with errors.open("wb") as stderr, Path(os.devnull).open("rb") as nothing:
            streams = [nothing.fileno(), writer, stderr.fileno()]
            process = forked.start(arguments, self._folder, sandbox.environment(self._folder), streams)
        os.close(writer)
        seen = os.read(reader, 1)
        os.truncate(weights, size)
        while seen:
            seen = os.read(reader, 65536)
        os.close(reader)
        code = forked.wait(process)
        return Outcome(f"ended with {code}", fault_of_process(code, errors.read_bytes()))

    def keep(self, draw: Random, folder: Path) -> str:
        """Return what the file is cut to."""
        return str(self._plan(draw))

    def _plan(self, draw: Random) -> tuple[int, Sequence[str]]:
        options = ((), ("--backend", "numpy"), ("--threads", "2"), ("--num-samples", "2"))
        return draw.randrange(len(self._sound)), draw.choice(options)
