"""How Sphinx builds the site: `make docs`. What is the kit's own is in _ext/."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent / "harness")]

project = "Forklab"
author = "the Forklab authors"
language = "en"
extensions = ["myst_parser", "sphinx_design", "kit"]
exclude_patterns = ["examples", "figures", "_ext"]

myst_enable_extensions = ["colon_fence", "deflist"]
# A link to any heading, as a code host makes it.
myst_heading_anchors = 4

smartquotes_action = "qe"  # not dashes: --help stays as it is
highlight_language = "text"
primary_domain = None  # of ours, {function} is a listing
html_theme = "furo"
html_title = "Forklab"
html_static_path = ["_static"]
html_css_files = ["kit.css"]
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

# No font comes from elsewhere: the reader's own, Korean ones among them.
KOREAN = '"Apple SD Gothic Neo", "Noto Sans KR", "Noto Sans CJK KR", "Malgun Gothic"'
fonts = {
    "font-stack": f"system-ui, -apple-system, 'Segoe UI', Roboto, {KOREAN}, sans-serif",
    "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', "
    f"D2Coding, 'Noto Sans Mono CJK KR', {KOREAN}, monospace",
}
html_theme_options = {"light_css_variables": fonts}
