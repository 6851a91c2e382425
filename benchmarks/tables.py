"""Rows of text as a table: for a terminal of 80 columns, or as Markdown for a document. Pure."""

from collections.abc import Sequence
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.table import Table

Rows: TypeAlias = list[tuple[str, ...]]


def as_table(header: Sequence[str], rows: Rows) -> Table:
    """For a terminal."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(header: Sequence[str], rows: Rows) -> str:
    """For a document."""
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))
