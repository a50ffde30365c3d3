"""Random commands on a terminal, with files, tokens and arguments that would take it over."""

from __future__ import annotations

from random import Random

from fuzz.processes import sandbox
from fuzz.processes.command_lines import CommandLines
from fuzz.processes.screen import fault_left_behind, fault_on_screen, run_on_terminal
from fuzz.search import Outcome


class Terminals(CommandLines):
    """Command lines whose streams are a terminal."""

    name = "terminal"

    def attempt(self, draw: Random) -> Outcome:
        """Run a command on a terminal."""
        # --raw passes what a model says as it is.
        arguments = [word for word in self._arguments(draw) if word != "--raw"]
        environment = sandbox.environment(self._folder) | {"COLUMNS": draw.choice(("20", "80", "200"))}
        code, shown = run_on_terminal(arguments, self._folder, environment)
        fault = fault_on_screen(shown) or fault_left_behind(shown)
        return Outcome(f"ended with {code}", fault)
