"""The HTML file of `reverie bench table --html`: tables, plots and pictures of what was measured."""

from __future__ import annotations

import base64
from html import escape

from reverie.tools.bench import result_plots
from reverie.tools.bench.result_tables import sections
from reverie.tools.bench.results import Run, grouped
from reverie.tools.report.html import document, image, plot, table

MEASURES = """Old and new: accuracy on the tasks before the last and on the last. Old as new: share of test images of
classes known before the last update that are taken for classes new in it; new as old the reverse. Forgetting: best
earlier minus final accuracy of a task (Chaudhry et al., 2018), backward transfer: final accuracy minus that right after
the task was learnt (Lopez-Paz and Ranzato, 2017); both are means over all tasks but the last. Mean so far: that of the
accuracies on all tasks so far, after the pretraining and after every update (Rebuffi et al., 2017). Agreement: share of
the previous generator's inputs on which the solver answers as before the last update. Coverage: smallest and largest
share of a class among generated inputs, in parts of an even share. Steps: of training the solver, mean of updates."""
PICTURES = {
    "generated": "Inputs that the default form's generator makes after the last update, a row a class.",
    "synthesised": "Inputs that it synthesised in the last update, a row a reference label.",
}


def page(runs: list[Run]) -> str:
    """The whole file."""
    parts = ["<h1>Accuracy and forgetting</h1>", f"<p class='faint'>{escape(MEASURES)}</p>"]
    for forms in grouped(runs):
        final, forgotten, costs, so_far, *beside = sections(forms)
        parts += [f"<h2>{escape(final.title)}</h2>", table(final.headings, final.rows)]
        parts += [table(forgotten.headings, forgotten.rows), table(costs.headings, costs.rows)]
        parts += [plot(result_plots.so_far(forms), "Accuracy on all tasks so far, with its standard error over seeds.")]
        parts += [table(so_far.headings, so_far.rows)]
        for section in beside:
            parts += [f"<h3>{escape(section.title)}</h3>", table(section.headings, section.rows)]
        parts += [plot(result_plots.matrices(forms), "Accuracy in % after each update (rows) on each task (columns).")]
        for run in forms.get("default", [])[:1]:
            for name, words in PICTURES.items():
                if name in run.pictures:
                    shown = image(base64.b64decode(run.pictures[name]), "png", words)
                    parts.append(f"<figure>{shown}<figcaption>{words} Seed {run.seed}.</figcaption></figure>")
    return document("Accuracy and forgetting", parts)
