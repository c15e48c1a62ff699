"""What the README tells a provider to do works as it stands there."""

from __future__ import annotations

import re

import cv2
import numpy as np


def pictures(folder, labels, count):
    rng = np.random.default_rng(0)
    for shade, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for at in range(count):
            image = rng.integers(40 * shade, 40 * shade + 60, (28, 28), dtype=np.uint8)
            cv2.imwrite(str(folder / label / f"{at}.png"), image)


def test_the_solver_in_the_readme_is_pretrained_exported_and_updated(repository, workspace, reverie, anything_serves):
    del anything_serves
    readme = (repository / "README.md").read_text("utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (workspace / "my_model.py").write_text(source, encoding="utf-8")
    pictures(workspace / "photos", ["cup", "box"], 12)
    pictures(workspace / "new-frames", ["cup", "pen"], 6)
    pretrain = "pretrain photos --solver my_model:Solver --size 28,28 --colour grey --output trained-mine"
    export = "export trained-mine --output bundle-mine"
    said = {line.partition("#")[0].strip() for line in readme.splitlines()}
    assert {f"reverie {pretrain}", f"reverie {export}"} <= said
    for command in (f"{pretrain} --solver-epochs 1 --gan-steps 2", export):
        finished = reverie(*command.split())
        assert finished.code == 0, finished
    home = workspace / "home"
    assert reverie("install", "bundle-mine", "--home", home).code == 0
    finished = reverie("update", "--frames", "new-frames", "--home", home, "--max-minutes", "0.00001")
    assert finished.code == 0, finished
    assert "classes: box, cup, pen" in " ".join(reverie("status", "--home", home).out.split())
