"""What changes in the code from one notebook to the next."""

import difflib
import html

SHAPING = ("parameters", "data", "net", "fit")  # the cells that make a run what it is


def code_changes(before: dict, after: dict) -> str:
    """The lines that the second notebook drops and adds, with a line around them, as HTML."""
    lines = []
    for cell in SHAPING:
        texts = [
            "".join(part["source"]) for notebook in (before, after) for part in notebook["cells"] if part["id"] == cell
        ]
        found = list(difflib.unified_diff(*(text.splitlines() for text in texts), n=1, lineterm=""))[2:]
        lines += [marked(line) for line in found if not line.startswith("@@")]
    return "".join(lines)


def marked(line: str) -> str:
    """A line of a difference, marked so that it is also heard."""
    element = {"+": "ins", "-": "del"}.get(line[0])
    text = html.escape(line)
    return f"<{element}>{text}</{element}>" if element else f"{text}\n"
