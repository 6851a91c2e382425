"""Draw commands and what they really print, as an SVG.

python docs/pictures/terminal.py terminal.svg "everstep train --out run" "everstep evaluate run"
"""

import io
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 80


def draw(commands: list[str], picture: Path) -> None:
    """Run each command and write command and output into one picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for command in commands:
        console.print(Text("$ ", style="green").append(command, style="bold white"))
        done = subprocess.run(
            shlex.split(command), check=True, capture_output=True, text=True, timeout=120
        )
        console.print(Text(done.stdout.rstrip()))
    picture.write_text(console.export_svg(title="everstep"))


if __name__ == "__main__":
    draw([*sys.argv[2:]], Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {shlex.join(sys.argv[2:])}")
