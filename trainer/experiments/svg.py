"""Pieces of our pictures, as SVG text: the ground with its title, a line of text, the colours."""

from html import escape
from typing import Final

INK: Final = "#1f2937"
QUIET: Final = "#6b7280"
FAINT: Final = "#e5e7eb"
GREY: Final = "#9aa1ac"
BLUE: Final = "#2563eb"


def head(title: str, width: int, height: int) -> str:
    """The document's beginning, up to its title on white; `</svg>` is the caller's."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
        f' font-size="11" fill="{INK}">\n<title>{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>\n'
        f'<text x="24" y="32" font-size="16" font-weight="600">{escape(title)}</text>'
    )


def text(x: float, y: float, words: str, anchor: str, colour: str, more: str = "") -> str:
    """One line of text; `anchor` is start, middle or end, `more` further attributes."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>'
        f"{escape(words)}</text>"
    )
