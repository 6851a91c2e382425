"""Tables of 80 columns, for a terminal or a document, and how numbers are written. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from benchmarks.tables import Rows, as_markdown, as_table


class Shown(NamedTuple):
    """The rows, below a title and above what explains them."""

    title: str
    columns: tuple[str, ...]
    rows: Rows
    caption: str

    def for_terminal(self) -> Group:
        """The first column is text, the others are numbers."""
        title, caption = Text(f"\n{self.title}", style="bold"), Text(self.caption, style="italic")
        return Group(title, as_table(self.columns, self.rows), caption)

    def for_document(self) -> str:
        """As Markdown."""
        return f"{self.title}\n\n{as_markdown(self.columns, self.rows)}\n\n({self.caption})\n"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> Shown:
    """What is to be shown."""
    return Shown(title, tuple(columns), [tuple(row) for row in rows], caption)


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    thousandths = seconds * 1e3
    return f"{thousandths:,.0f}" if seconds >= 1 else f"{thousandths:#.3g}".rstrip(".")


def counted_bytes(count: float) -> str:
    """In decimal units."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
