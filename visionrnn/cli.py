"""The command `visionrnn`, made from the entries of `visionrnn.tasks`.

A task is imported only when it is called, so that help comes at once.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from visionrnn.tasks import TASKS


@dataclass(frozen=True)
class Command:
    """A function and its flags, by name."""

    module: str
    """Where they are; its `main`, or the function of the given name, does the work."""
    config: str
    """The dataclass of the flags; its docstring is the description."""
    function: str = "main"
    does: str = ""
    """What it does, for the list of commands."""
    extra: str = ""
    """The extra of setup.cfg that it needs."""

    def load(self) -> tuple[type[Any], Callable[[Any], int | None]]:
        """Import it -> the flags and the function."""
        import importlib

        from common.cli import needs_extra

        with needs_extra(self.extra or "train"):
            module = importlib.import_module(self.module)
        return getattr(module, self.config), getattr(module, self.function)


COMMANDS: dict[tuple[str, ...], Command] = {
    **{(t.verb,): Command(f"{t.package}.command", "Config", "main", t.does, t.extra) for t in TASKS},
    **{
        ("train", t.package): Command(f"{t.package}.training", t.trainer, "train", t.title, t.extra)
        for t in TASKS
    },
    **{
        ("evaluate", t.package): Command(
            f"{t.package}.evaluation", "EvaluationConfig", "evaluate", t.title, t.extra
        )
        for t in TASKS
    },
    ("demo",): Command("visionrnn.demo.command", "Config", does="Serve a page to try the tasks on."),
    ("models",): Command("visionrnn.models", "Config", does="List the models that come along."),
    ("average",): Command("visionrnn.average", "Config", does="Average the weights of models."),
    ("export",): Command("visionrnn.export", "Config", does="Give a model the graphs that need no torch."),
    ("completion",): Command(
        "visionrnn.completion", "Config", does="Print what makes bash or zsh complete commands and flags."
    ),
}
"""The words of each command, and what it calls."""


def usage() -> str:
    """The list of commands."""
    rows = [(" ".join(words), c.does) for words, c in COMMANDS.items() if len(words) == 1]
    rows[len(TASKS) : len(TASKS)] = [
        ("train TASK", "Train on your own data."),
        ("evaluate TASK", "Score a model on labelled data."),
    ]
    width = max(len(words) for words, _ in rows)
    lines = [f"  {words:{width}}  {does}" for words, does in rows]
    tasks = ", ".join(task.package for task in TASKS)
    return "\n".join(
        [
            "usage: visionrnn COMMAND ...",
            "",
            *lines,
            "",
            f"TASK: {tasks}.",
            "visionrnn COMMAND --help lists its flags.",
        ]
    )


def find(words: Sequence[str]) -> tuple[Command, Sequence[str], Sequence[str]]:
    """The command that `words` begin with -> it, its own words, the rest. Raises KeyError: what is wrong."""
    for length in (1, 2):
        if tuple(words[:length]) in COMMANDS:
            return COMMANDS[tuple(words[:length])], words[:length], words[length:]
    groups = sorted({key[0] for key in COMMANDS if len(key) == 2})
    if words[0] in groups:
        given, choices = words[1:2], [key[1] for key in COMMANDS if key[0] == words[0]]
    else:
        given, choices = words[:1], [*(key[0] for key in COMMANDS if len(key) == 1), *groups]
    from difflib import get_close_matches

    near = get_close_matches(given[0], choices, 1) if given else []
    said = f"{given[0]!r}: " if given else ""
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise KeyError(f"{said}{meant}expected {', '.join(choices)}")


def main(*command: str) -> NoReturn:
    """Run `command` and what follows on the command line; without a command, the first words name it."""
    words = [*command, *sys.argv[1:]]
    if not command and words[:1] in (["--version"], ["-V"]):
        from importlib import metadata

        print(f"visionrnn {metadata.version('visionrnn')}")
        sys.exit(0)
    groups = {key[0] for key in COMMANDS if len(key) == 2}
    behind = words[1:] if words[:1] and words[0] in groups else words
    if behind[:1] in ([], ["--help"], ["-h"]):
        print(usage(), file=sys.stdout if behind else sys.stderr)
        sys.exit(0 if behind else 2)
    try:
        found, own, rest = find(words)
    except KeyError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        sys.exit(2)
    try:
        from common.cli import run, waiting

        with waiting("loading"):
            config, function = found.load()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    from inspect import getdoc

    run(function, config, getdoc(config), rest, None if command else f"visionrnn {' '.join(own)}")
