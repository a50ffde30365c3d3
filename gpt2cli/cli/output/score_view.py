"""Text shaded by surprisal, on a terminal or in a picture file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from gpt2cli.cli.output.streams import Write, stdout_is_terminal, terminal_columns, wants_color
from gpt2cli.scoring.pictures.shading import (
    FULL_SHADE,
    Part,
    Placed,
    Shaded,
    legend,
    lines_of,
    parts_of,
    shade,
)
from gpt2cli.scoring.rows import TokenRow, token_rows
from gpt2cli.scoring.scored_text import ScoredToken, Text, split_texts
from gpt2cli.scoring.settings import Split, Unit
from gpt2cli.scoring.streaming.streamed_text import Content
from gpt2cli.scoring.text_scorer import Scoring
from gpt2cli.scoring.words import WordRow, word_rows
from gpt2cli.text.reading.limits import MOST_DRAWN, too_long
from gpt2cli.text.reading.newlines import Newlines, with_lf

# Bars below uncolored text, as tall as its surprisal.
BARS = " ▁▂▃▄▅▆▇█"
NO_BREAK = "\N{NO-BREAK SPACE}"
BLACK, PLAIN = "\x1b[38;5;16m", "\x1b[0m"


@dataclass(frozen=True)
class View:
    """The tokens or words of sources to shade, and the scoring to use."""

    scoring: Scoring
    sources: Iterable[tuple[str | None, Content]]
    words: bool
    split: Split | None
    newlines: Newlines | None = None

    def parts(self, most: int | None = None) -> Iterator[Part]:
        """Yield the parts of all texts, with an empty line between texts.

        Raises:
            InputError: the texts have more than `most` characters.
        """
        words = self.words
        texts = self._texts(most)
        rows: Callable[[Iterable[ScoredToken], Unit], Iterable[TokenRow | WordRow]]
        rows = word_rows if words else token_rows
        for index, (_, text, tokens) in enumerate(self.scoring.scorer.tokens(texts, words)):
            if index:
                yield Part("\n\n")
            # Always bits, because shades have one scale.
            yield from parts_of(text.content, (_stretch(row, text) for row in rows(tokens, "bits")))

    def _texts(self, most: int | None) -> Iterator[tuple[str | None, Text]]:
        size = 0
        for name, content in self.sources:
            for text in split_texts(content, self.split):
                size += len(text.content)
                if most is not None and size > most:
                    raise too_long("a picture", most, "characters")
                # A picture shows the places in the text that is scored, not those in its file.
                lf = self.newlines == "lf"
                yield name, replace(text, content=with_lf(text.content)) if lf else text

    @property
    def title(self) -> str:
        """The settings that make two pictures comparable."""
        used = self.scoring.metadata
        return (
            f"{used['model']}: surprisal of {'words' if self.words else 'tokens'}, "
            f"{'with' if used['bos'] else 'without'} BOS, window {used['window']}, stride {used['stride']}"
        )


def show_view(view: View, picture: str | None, write: Write, *, to_stdout: bool, color: str) -> None:
    """Write a picture (html, svg or png), or lines for a terminal."""
    if picture in ("html", "svg", "png"):
        from gpt2cli.scoring.pictures import shaded_text as pictures

        draw = {"html": pictures.html_page, "svg": pictures.svg_drawing, "png": pictures.png_image}[picture]
        write(draw(list(view.parts(MOST_DRAWN)), view.title))
        return
    shaded = to_stdout and wants_color(color)
    for line in terminal_lines(view.parts(), shaded):
        write(line)
    if to_stdout and stdout_is_terminal():
        for line in terminal_legend(shaded):
            write(line)


def terminal_lines(parts: Iterable[Part], shaded: bool) -> Iterator[bytes]:
    """Yield lines as wide as the terminal, either shaded or with bars below the text."""
    for line in lines_of(parts, terminal_columns()):
        if shaded:
            yield "".join(map(_shaded, line)).encode() + b"\n"
        else:
            text = "".join(placed.part.text for placed in line)
            yield f"{text}\n{''.join(map(_bar, line)).rstrip()}\n".encode()


def terminal_legend(shaded: bool) -> Iterator[bytes]:
    """Yield an empty line and a legend of shades or bars."""
    yield b"\n"
    labels = [(bits, label.replace(" ", NO_BREAK)) for bits, label in legend()]
    if shaded:
        marks = [Part(f" {label} ", bits) for bits, label in labels]
    else:
        # A surprisal of zero has no bar.
        marks = [Part(f"{_bar_of(bits)}{NO_BREAK}{label}  ") for bits, label in labels[1:]]
    for line in lines_of(marks, terminal_columns()):
        text = "".join(_shaded(placed) if shaded else placed.part.text for placed in line)
        yield f"{text.rstrip()}\n".encode()


def _stretch(row: TokenRow | WordRow, text: Text) -> Shaded:
    note = "not scored" if row.surprisal is None else f"{row.surprisal:.2f} bits"
    return Shaded(row.start - text.start, row.end - text.start, row.surprisal, note)


def _shaded(placed: Placed) -> str:
    if placed.part.bits is None:
        return placed.part.text
    red, green, blue = shade(placed.part.bits)
    return f"{BLACK}\x1b[48;2;{red};{green};{blue}m{placed.part.text}{PLAIN}"


def _bar(placed: Placed) -> str:
    return _bar_of(placed.part.bits or 0.0) * int(placed.width)


def _bar_of(bits: float) -> str:
    return BARS[round(min(bits / FULL_SHADE, 1.0) * (len(BARS) - 1))]
