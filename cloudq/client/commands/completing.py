"""The command that prints completion scripts: completion."""

from __future__ import annotations

import click

from cloudq.cli import loaded

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(*, shell: str) -> None:
    """Print a script that completes commands, options, ids and systems in a shell."""
    from cloudq.client.commands.completion import render_completion

    group = click.get_current_context().find_root().command
    commands = loaded(group) if isinstance(group, click.Group) else {}
    click.echo(render_completion(shell, commands), nl=False)
