"""What pictures are made of: text, boxes, arrows, life-lines, intervals, descriptor tables.

A :class:`Drawing` becomes one SVG that can stand alone, as an image, and within a page of HTML. Its
colours are the page's (``--fig-ink``, ``--fig-soft``, ``--fig-paper``, ``--fig-box``,
``--fig-accent``, ``--fig-warn``, ``--fig-good``) or, where it sets none, its own, light or dark as
the reader likes it. Nothing is told by colour alone.

Lengths are in units of the drawing, a CSS pixel each where there is room for all of it. Every
method draws with the text's baseline, the box's upper left corner, at ``x, y``. A ``kind`` is one
or more class names of STYLE: "small soft". In texts, ``words between backticks`` are code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import east_asian_width

KIT_CLASS = "forklab-figure"
PAPER_EDGE = 16  # units that stay free around a picture
ROW = 26  # height of a row of a table
SIZES = {"head": 17.0, "small": 13.0, "tiny": 12.0, "term": 12.5}
USUAL_SIZE = 15.0
MONO_WIDTH = 0.61  # of a letter of code, in its height

SANS = "system-ui,'Segoe UI',Roboto,'Noto Sans','Apple SD Gothic Neo','Malgun Gothic',sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
LIGHT = {
    "ink": "#1f2933",
    "soft": "#55616d",
    "paper": "#ffffff",
    "box": "#f2f4f7",
    "accent": "#1a5a9e",
    "warn": "#a33a0c",
    "good": "#1a6a3a",
}
DARK = {
    "ink": "#e4e8ec",
    "soft": "#a7b1bc",
    "paper": "#15181c",
    "box": "#23282e",
    "accent": "#82b8f2",
    "warn": "#f4a480",
    "good": "#84d3a0",
}

STYLE = """
{max-width:100%;height:auto;LIGHT}
@media(prefers-color-scheme:dark){{DARK}}
 text{font:15px SANS;fill:var(--ink);white-space:pre}
 .term{font:12.5px MONO}
 .head{font-size:17px;font-weight:600}
 .bold{font-weight:600}
 .small{font-size:13px}
 .tiny{font-size:12px}
 .code{font-family:MONO}
 text.soft{fill:var(--soft)}
 text.warn{fill:var(--warn)}
 text.good{fill:var(--good)}
 .paper{fill:var(--paper)}
 .box{fill:var(--box);stroke:var(--soft)}
 .frame{fill:none;stroke:var(--soft)}
 .sheet{fill:var(--paper);stroke:var(--soft)}
 .run{fill:var(--accent);stroke:var(--accent);fill-opacity:.25}
 .zombie{stroke:var(--warn);stroke-width:1.5}
 .asleep{fill:var(--paper);stroke:var(--accent)}
 .new{fill:var(--paper);stroke:var(--accent);stroke-width:2.5}
 .line{fill:none;stroke:var(--ink);stroke-width:1.5}
 .tip{fill:var(--ink)}
 .line.warn{stroke:var(--warn)}
 .tip.warn{fill:var(--warn)}
 .line.soft{stroke:var(--soft);stroke-width:1}
 .tip.soft{fill:var(--soft)}
 .dashed{stroke-dasharray:5 4}
 .hatch{stroke:var(--warn);stroke-width:2}
"""


def colours(theme: dict[str, str]) -> str:
    """The page's colours, or where it has none those of a theme, as CSS variables."""
    return ";".join(f"--{name}:var(--fig-{name},{value})" for name, value in theme.items())


def style() -> str:
    """The style sheet of every picture. Its rules hold within the kit's pictures only."""
    text = STYLE.replace("SANS", SANS).replace("MONO", MONO)
    text = text.replace("LIGHT", colours(LIGHT)).replace(
        "{DARK}", f".{KIT_CLASS}{{{colours(DARK)}}}"
    )
    rules = [
        line if line.startswith("@") else f".{KIT_CLASS}{line}" for line in text.strip().split("\n")
    ]
    return "\n".join(rules)


# How wide text is ----------------------------------------------------------------------------

# The share of its height that a letter takes, for the widest of the usual fonts.
NARROW, WIDE, WIDEST = "iljtfrI.,:;'|!()[]` ·-", "wmMWQOGDHNU", "@%—→←…✓✗"


def letter_width(letter: str) -> float:
    """Width of a letter of ordinary text, in its height: rather too much than too little."""
    if east_asian_width(letter) in "WF":
        return 1.0
    if letter in NARROW:
        return 0.43
    if letter in WIDEST:
        return 1.02
    if letter in WIDE:
        return 0.85 if letter not in "mMW" else 1.0
    return 0.70 if letter.isupper() else 0.64


def size_of(kind: str) -> float:
    """Height of the letters of a kind of text."""
    return next((SIZES[one] for one in kind.split() if one in SIZES), USUAL_SIZE)


def text_width(words: str, kind: str = "") -> float:
    """About how wide that text will be, at most."""
    width = 0.0
    for code, part in spans(words):
        if code or "code" in kind or "term" in kind:
            width += sum(1.0 if east_asian_width(one) in "WF" else MONO_WIDTH for one in part)
        else:
            heavy = 1.15 if "head" in kind or "bold" in kind else 1.0
            width += heavy * sum(map(letter_width, part))
    return width * size_of(kind)


def spans(words: str) -> Iterator[tuple[bool, str]]:
    """The parts of a text, and whether each is code: what stands between backticks."""
    for number, part in enumerate(words.split("`")):
        if part:
            yield number % 2 == 1, part


def wrapped(words: str, width: float, kind: str = "") -> list[str]:
    """The text in lines of at most that width; code is not broken."""
    lines = [""]
    for word in _unbroken(words):
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, kind) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _unbroken(words: str) -> list[str]:
    """The words of a text, a piece of code being one."""
    joined: list[str] = []
    for word in words.split(" "):
        if joined and joined[-1].count("`") % 2 == 1:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


# Drawing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of a descriptor table."""

    number: str  # "3", "0-2"
    what: str  # "listener"
    closed: bool = False


class Drawing:
    """One picture, drawn from top to bottom."""

    def __init__(self, name: str, title: str, description: str, width: int = 480) -> None:
        """``name`` is the file's, and what ids begin with; the description says what one sees."""
        self.name = name
        self.title = title
        self.description = description
        self.width = width
        self._parts: list[str] = []
        self._hatched = False

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """One line of text. ``anchor``: what of it is at x ("start", "middle" or "end")."""
        inner = "".join(
            f'<tspan class="code">{escape(part, quote=False)}</tspan>'
            if code
            else escape(part, quote=False)
            for code, part in spans(words)
        )
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._add(f"<text{_place(x=x, y=y)}{_kind(kind)}{where}>{inner}</text>")

    def note(
        self,
        x: float,
        y: float,
        words: str,
        width: float,
        kind: str = "small",
        anchor: str = "start",
    ) -> float:
        """Text in lines of at most that width. Returns the baseline that a next line would have."""
        for line in wrapped(words, width, kind):
            self.text(x, y, line, kind, anchor)
            y += round(size_of(kind) * 1.38)
        return y

    def box(
        self, x: float, y: float, width: float, height: float, kind: str = "box", round_: float = 6
    ) -> None:
        """A rectangle with round corners: kinds "box", "frame", "sheet", "new", with "dashed"."""
        place = _place(x=x, y=y, width=width, height=height, rx=round_)
        self._add(f"<rect{place}{_kind(kind)}/>")

    def line(self, *points: tuple[float, float], kind: str = "") -> None:
        """A line through these points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._add(f'<polyline points="{path}"{_kind(f"line {kind}".strip())}/>')

    def arrow(self, *points: tuple[float, float], kind: str = "") -> None:
        """A line through these points with a tip at the last."""
        (x1, y1), (x2, y2) = points[-2:]
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        self.line(*points[:-1], (round(x2 - 5 * dx, 1), round(y2 - 5 * dy, 1)), kind=kind)
        foot = [(x2 - 9 * dx + side * dy, y2 - 9 * dy - side * dx) for side in (4.5, -4.5)]
        tip = " ".join(f"{round(x, 1):g},{round(y, 1):g}" for x, y in [(x2, y2), *foot])
        colour = " ".join(one for one in kind.split() if one != "dashed")
        self._add(f'<polygon points="{tip}"{_kind(f"tip {colour}".strip())}/>')

    def lane(self, x: float, y: float, end: float, words: str) -> None:
        """A life-line from y down to ``end``, named at its head."""
        self.text(x, y - 10, words, "bold", "middle")
        self.line((x, y), (x, end), kind="soft")

    def interval(self, x: float, y: float, end: float, state: str, width: float = 16) -> None:
        """A stretch of time on the life-line at x: state "run", "asleep" or "zombie" (hatched)."""
        place = _place(x=x - width / 2, y=y, width=width, height=end - y, rx=3)
        self._add(f"<rect{place}{_kind('paper')}/>")  # the life-line ends here
        fill = ""
        if state == "zombie":
            self._hatched = True
            fill = f' fill="url(#{self.name}-hatch)"'
        self._add(f"<rect{place}{_kind(state)}{fill}/>")

    def table(
        self, x: float, y: float, width: float, owner: str, rows: Sequence[Row]
    ) -> dict[str, float]:
        """A process's descriptor table. Returns for each number the y of its row's middle."""
        self.box(x, y, width, ROW * (len(rows) + 1), "sheet")
        self.text(x + 12, y + 18, owner, "bold")
        middles: dict[str, float] = {}
        for place, row in enumerate(rows, start=1):
            top = y + ROW * place
            self.line((x, top), (x + width, top), kind="soft")
            self.text(x + 12, top + 18, row.number, "code soft" if row.closed else "code bold")
            self.text(x + 46, top + 18, *(("closed", "soft") if row.closed else (row.what,)))
            middles[row.number] = top + ROW / 2
        return middles

    def svg(self, height: float) -> str:
        """The picture as the text of a file, cut off at that height."""
        name, title = self.name, escape(self.title, quote=False)
        hatch = (
            f'<defs><pattern id="{name}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern></defs>\n'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{KIT_CLASS}" width="{self.width}" '
            f'viewBox="0 0 {self.width} {height:g}" role="img" '
            f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">\n'
            f'<title id="{name}-title">{title}</title>\n'
            f'<desc id="{name}-desc">{escape(self.description, quote=False)}</desc>\n'
            f"<style>\n{style()}\n</style>\n{hatch if self._hatched else ''}"
            f'<rect class="paper" width="{self.width}" height="{height:g}"/>\n'
        )
        return head + "\n".join(self._parts) + "\n</svg>\n"

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _place(**numbers: float) -> str:
    return "".join(f' {name}="{round(value, 1):g}"' for name, value in numbers.items())


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
