#!/usr/bin/env python3
"""Draws a terminal session as an SVG: runs the commands below on a pseudo-terminal and draws what they print, colors included.

usage: terminal_svg.py PROGRAM DEMO_CLIP_DIR [OUT.svg]      (default: docs/terminal.svg beside this folder)
The documentation's test draws it again and compares.
"""

import fcntl
import html
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios

COMMANDS = (
    "anemone convert demo-clip clip.nemo",
    "anemone inspect clip.nemo",
    'anemone infer clip.nemo --image demo-clip/images/bag.jpg --labels demo-clip/labels.txt --top 3',
    "anemone reshard clip.nemo clip_pp2.nemo --pp 2",
    "anemone diff clip.nemo clip_pp2.nemo --canonical",
)
COLUMNS = 96
# A character's width and a line's height in pixels at 14 px, margins.
WIDTH, HEIGHT, LEFT, TOP = 8.43, 20, 16, 48
STYLE = """
rect { fill: #16181d; }
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d6dae1; white-space: pre; }
.prompt { fill: #7ec699; } .command { fill: #fff; font-weight: 600; }
.s1 { font-weight: 600; fill: #fff; } .s2 { fill: #8b93a1; } .s31 { fill: #ff7b72; } .s32 { fill: #7ec699; } .s33 { fill: #e5c07b; } .s36 { fill: #6cb6ff; }
"""


def on_terminal(words, folder):
    """What a command prints on a terminal of COLUMNS."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "HOME": folder, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        os.execve(words[0], words, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    output = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the terminal's other side is closed
            break
        if not part:
            break
        output += part
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        sys.exit(f"{shlex.join(words)}: exit status {status}\n{output.decode()}")
    return output.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def spans(line):
    """(class, text) of the parts of a line, by its escape codes."""
    style, parts = "", []
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", piece)
        if code:
            style = " ".join(f"s{number}" for number in code[1].split(";") if number not in ("", "0"))
        elif piece:
            parts.append((style, piece))
    return parts


def session(program, demo):
    """Lines, each a list of (class, text)."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.abspath(demo), os.path.join(folder, "demo-clip"))
        for command in COMMANDS:
            words = shlex.split(command)
            lines.append([("prompt", "$ "), ("command", command)])
            lines += [spans(line) for line in on_terminal([os.path.abspath(program), *words[1:]], folder)]
    return lines


def draw(lines):
    width, height = round(2 * LEFT + COLUMNS * WIDTH), TOP + len(lines) * HEIGHT + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
           f'aria-label="A terminal session: {html.escape("; ".join(COMMANDS))}">', f"<style>{STYLE}</style>",
           f'<rect width="{width}" height="{height}" rx="10"/>']
    out += [f'<circle cx="{22 + 20 * i}" cy="20" r="6" fill="{color}"/>' for i, color in enumerate(("#ff5f57", "#febc2e", "#28c840"))]
    for row, line in enumerate(lines):
        parts = "".join(f'<tspan class="{style}">{html.escape(text)}</tspan>' if style else html.escape(text) for style, text in line)
        if parts:
            out.append(f'<text x="{LEFT}" y="{TOP + row * HEIGHT}" xml:space="preserve">{parts}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    program, demo = sys.argv[1:3]
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "docs", "terminal.svg")
    with open(sys.argv[3] if len(sys.argv) > 3 else own, "w", encoding="utf-8") as file:
        file.write(draw(session(program, demo)))


if __name__ == "__main__":
    main()
