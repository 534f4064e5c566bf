"""`visionrnn completion`: a script that makes a shell complete commands and flags."""

from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal, Union

import tyro

from visionrnn.cli import COMMANDS

_TASK: Any = tyro.conf.OmitSubcommandPrefixes
_FLAGS: Any = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print what makes bash or zsh complete commands and flags.

        visionrnn completion bash > ~/.local/share/bash-completion/completions/visionrnn
        visionrnn completion zsh > "${fpath[1]}/_visionrnn"

    Takes some seconds, since every task is imported.
    """

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]
    """The shell."""


def main(config: Config) -> None:
    """Print the script that tyro makes."""
    flags: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for words, command in COMMANDS.items():
        found, _ = command.load()
        (flags if len(words) == 1 else groups.setdefault(words[0], {}))[words[-1]] = found
    for name, tasks in groups.items():
        task = _TASK[_one_of(tasks)]
        flags[name] = make_dataclass(name, [("task", task)])
    tyro.cli(
        _FLAGS[_one_of(flags)],
        prog="visionrnn",
        args=["--tyro-print-completion", config.shell],
    )


def _one_of(flags: dict[str, Any]) -> Any:
    return Union[tuple(Annotated[found, tyro.conf.subcommand(name)] for name, found in flags.items())]  # noqa: UP007
