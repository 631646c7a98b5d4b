"""architecture: the parts of the harness, who calls whom, and the black box."""

from __future__ import annotations

from forklab.draw.svg import Drawing

Point = tuple[float, float]
# Who calls whom, as modules of forklab (a test holds each to the source), and the arrow's way.
CALLS: tuple[tuple[str, str, tuple[Point, ...]], ...] = (
    ("cli", "checking", ((86, 62), (86, 312))),
    ("cli", "batch", ((240, 62), (240, 96))),
    ("cli", "mutants", ((394, 62), (394, 96))),
    ("batch", "graders", ((240, 142), (240, 168))),
    ("mutants", "graders", ((394, 142), (394, 168))),
    ("graders", "worker", ((240, 214), (240, 240))),
    ("worker", "checking", ((240, 286), (240, 312))),
    ("checking", "plugin", ((146, 358), (146, 384))),
    ("plugin", "result", ((276, 407), (322, 407))),
    ("lessons.echoing", "launch", ((146, 502), (146, 536))),
    ("lessons.echoing", "clients", ((250, 502), (250, 518), (402, 518), (402, 536))),
    ("server", "procfs", ((66, 582), (66, 608))),
    ("server", "contain", ((174, 582), (174, 608))),
    ("server", "probe", ((250, 582), (250, 608))),
)


def architecture() -> str:
    """The picture."""
    drawing = Drawing(
        "architecture",
        "The harness: who calls whom, and the black box",
        "From top to bottom. cli, the command line, grades one program itself, through checking. "
        "batch, mutants and soak grade many, through graders and worker, which forks a process for "
        "each program and calls checking there. checking starts pytest with the kit's plugin, that "
        "runs the rubric: checks and lessons. What comes of it is one result record, and render "
        "makes every report from that alone. The lessons start servers by launch and server, and "
        "talk to them by clients. server looks with procfs and tcp, starts through contain and its "
        "keeper, and has the probe for faults on cue. All that is the student's is in the black "
        "box, behind the walls of a sandbox: the server and its children. /proc is read, the "
        "keeper starts it and ends all of it, the probe shares a page of memory, signals are sent, "
        "and clients send and receive by TCP.",
    )
    _part(drawing, 16, 16, 448, "cli", "`grade`  `batch`  `mutants`  `soak`  ...")
    _part(drawing, 170, 96, 140, "batch", "a class")
    _part(drawing, 324, 96, 140, "mutants, soak", "the gallery")
    _part(drawing, 170, 168, 294, "graders", "several at a time, here or on a cluster")
    _part(drawing, 170, 240, 294, "worker", "forks a process for each program")
    drawing.text(96, 192, "one", "tiny soft")
    drawing.text(96, 208, "program", "tiny soft")
    _part(drawing, 16, 312, 294, "checking", "starts pytest")
    _part(drawing, 16, 384, 260, "plugin", "options, gates, outcomes")
    _part(drawing, 324, 384, 140, "result", "one record")
    _part(drawing, 324, 456, 140, "render", "every report")
    _part(drawing, 16, 456, 260, "checks, lessons", "the rubric")
    drawing.arrow((146, 430), (146, 456))
    drawing.arrow((394, 430), (394, 456), kind="dashed")
    _part(drawing, 16, 536, 308, "launch, server", "one running server, from outside")
    _part(drawing, 340, 536, 124, "clients", "one, or a crowd")
    _part(drawing, 16, 608, 100, "procfs, tcp", "facts", "small bold")
    _part(drawing, 124, 608, 100, "contain", "limits, tiers", "small bold")
    _part(drawing, 232, 608, 64, "probe", "faults", "small bold")
    _part(drawing, 124, 694, 100, "keeper", "ends them all", "small bold")
    for caller, callee, way in CALLS:
        assert caller != callee
        drawing.arrow(*way)
    drawing.arrow((174, 654), (174, 694))

    drawing.box(16, 770, 448, 124, "frame dashed")
    drawing.text(28, 882, "sandbox", "small soft")
    drawing.text(452, 882, "the black box", "small bold", "end")
    drawing.box(40, 796, 400, 62, "box")
    drawing.text(240, 822, "the student's server", "bold", "middle")
    drawing.text(240, 843, "and all its children", "small soft", "middle")
    drawing.arrow((66, 796), (66, 654), kind="dashed")
    drawing.text(74, 761, "`/proc`", "tiny soft")
    drawing.arrow((174, 740), (174, 796))
    drawing.text(182, 761, "starts", "tiny soft")
    drawing.arrow((250, 654), (250, 796))
    drawing.text(257, 761, "a page", "tiny soft")
    drawing.arrow((312, 582), (312, 796))
    drawing.text(320, 761, "signals", "tiny soft")
    drawing.arrow((402, 582), (402, 796))
    drawing.text(410, 761, "TCP", "tiny soft")
    drawing.text(16, 922, "Solid: calls, or acts on.  Dashed: is read by.", "small soft")
    return drawing.svg(940)


def _part(
    drawing: Drawing, x: float, y: float, width: float, name: str, does: str, kind: str = "bold"
) -> None:
    drawing.box(x, y, width, 46, "sheet")
    drawing.text(x + width / 2, y + 20, name, kind, "middle")
    drawing.text(x + width / 2, y + 37, does, "tiny soft", "middle")
