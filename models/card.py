"""Where figures are left: in a folder of their own, and in the model card between two marks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from daemon.model import WakeModel
from models import det, figures
from models.hearing import Tried

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
CONVERTER = "rsvg-convert"  # of librsvg2-bin


class CardError(ValueError):
    """A model card has no place for figures."""


def report(results: list[Tried], model: WakeModel) -> str:
    """All tables in Markdown."""
    first = results[0].condition
    return f"""One threshold per word in every condition, the lowest with at most {figures.ALLOWED} false alarm in all \
hours of "{first}":

{figures.kept(results)}

Each condition with its own thresholds, at which the word by itself has at most so many false alarms per hour of that
condition; in brackets the 95 % interval:

{figures.table(results)}

At the thresholds that the model recommends, with all words listened for:

{figures.in_force(results, model.thresholds)}

The same, all words together, by what is known of the speakers and of where the recordings are from:

{figures.groups(results)}"""


def write(folder: Path, name: str, model: WakeModel, results: list[Tried]) -> None:
    """Leave tables, all figures as JSON, and curves as SVG (as PNG too, where CONVERTER is), under this name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(report(results, model) + "\n")
    found = figures.as_json(results, model.thresholds)
    content = {"model": model.path.name, "version": model.version, "figures": found}
    (folder / f"{name}.json").write_text(json.dumps(content) + "\n")
    picture = folder / f"{name}.svg"
    picture.write_text(det.picture(results, f"{name} {model.version}"))
    if shutil.which(CONVERTER):
        command = [CONVERTER, "--zoom", "2", picture, "-o", folder / f"{name}.png"]
        subprocess.run(command, check=True, timeout=60)


def replace_figures(card: Path, text: str) -> None:
    """Put the text between the marks of a model card, in place of what is there."""
    content = card.read_text("utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CardError(f"{card} has no place for figures: put {BEGIN} and {END} where they belong")
    card.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
