"""README and guides as somebody follows them: their commands in order, and a reader who runs them in a folder."""

from __future__ import annotations

import re
import shlex

import cv2
import numpy as np

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

INSTALLED = "what runs the tests has it installed; tests/scenarios/test_small_install.py installs a box by these lines"
SYSTEMD = "needs systemd as the first process; tests/privacy/test_service.py looks at the units and at what they forbid"
NOT_RUN = {
    "make demo": "takes minutes; its parts are tested by tests/tools and tests/scenarios",
    "make test": "runs this",
    'pip install ".[workstation]"': INSTALLED,
    "python3 -m venv .venv-box && . .venv-box/bin/activate": INSTALLED,
    'pip install ".[box]"': INSTALLED,
    'pip install ".[report]"': INSTALLED,
    'pip install ".[page]"': INSTALLED,
    'sudo install -d -o "$USER" /var/lib/reverie': "changes the machine",
    "systemctl daemon-reload": SYSTEMD,
    "systemctl enable reverie-update.timer": SYSTEMD,
    "systemctl start reverie-update": SYSTEMD,
}
"""Commands that no test can run, each with the reason."""


def guides(repository):
    return sorted((repository / "docs/guide").glob("*.md"))


def blocks(document, language=""):
    """What stands in the fenced blocks of a document, those of commands being without a language."""
    return [text for named, text in BLOCK.findall(document.read_text("utf-8")) if named == language]


def commands(document):
    """All commands of a document in their order, each in one line, without comments and what only aligns them."""
    lines = "".join(blocks(document)).replace("\\\n", " ").splitlines()
    said = (" ".join(re.sub(r"\s+#.*", "", line).split()) for line in lines)
    return [command for command in said if command]


class Reader:
    """Follows a guide from top to bottom in a folder.

    `instead` has what stands in a command and what is put in its place. `before` has, for a command, what is done
    before each time that it stands in the guide; what that returns is added to the command. `otherwise` has, for a
    command, what runs it in the place of `reverie`. What one of these names must stand in the guide.
    """

    def __init__(self, reverie, instead=None, before=None, otherwise=None):
        self._reverie = reverie
        self._instead = dict(instead or {})
        self._before = {command: list(steps) for command, steps in (before or {}).items()}
        self._otherwise = dict(otherwise or {})

    def follow(self, guide):
        """What each command printed; all must succeed."""
        said = {}
        stands = commands(guide)
        for command in stands:
            if command in NOT_RUN:
                continue
            steps = self._before.get(command)
            more = (steps.pop(0)() if steps else None) or ()
            line = command
            for text, other in self._instead.items():
                line = line.replace(text, str(other))
            name, *arguments = shlex.split(line)
            assert name == "reverie", f"{command}: run it, or say in NOT_RUN why not"
            if command in self._otherwise:
                said[command] = self._otherwise[command](*arguments, *more)
                continue
            finished = self._reverie(*arguments, *more)
            assert finished.code == 0, (command, finished)
            said[command] = finished.out
        assert not any(self._before.values()), "what was to be done before commands that do not stand there"
        assert self._otherwise.keys() <= said.keys()
        assert all(any(text in command for command in stands) for text in self._instead)
        return said


def pictures(folder, labels, count, colour=False):
    """Class-named folders of small pictures: noise, brighter with each class."""
    for shade, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        rng = np.random.default_rng([shade, count])
        for at in range(count):
            image = rng.integers(40 * shade, 40 * shade + 60, (28, 28, 3)[: 2 + colour], dtype=np.uint8)
            cv2.imwrite(str(folder / label / f"{at:02}.png"), image)
