"""``python -m forklab.draw``: the same as `forklab figures`."""

from forklab.draw import figures

if __name__ == "__main__":
    print("\n".join(figures.write()))
