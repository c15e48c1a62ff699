"""No command of README and guides is left out: each is run by a test, or it is known why not."""

from __future__ import annotations

from guide import NOT_RUN, commands, guides

FOLLOWED_BY = {
    "box.md": "tests/guides/test_box_guide.py",
    "camera.md": "tests/guides/test_camera_guide.py",
    "security.md": "tests/export/test_workstation_guide.py",
    "workstation.md": "tests/export/test_workstation_guide.py",
}


def test_every_guide_is_followed_by_a_test(repository):
    assert {guide.name for guide in guides(repository)} == FOLLOWED_BY.keys()
    for guide, test in FOLLOWED_BY.items():
        assert f'docs/guide/{guide}"' in (repository / test).read_text("utf-8")


def test_every_command_of_the_readme_stands_in_a_guide_where_it_is_run(repository):
    run = {command for guide in guides(repository) for command in commands(guide)}
    assert set(commands(repository / "README.md")) - run <= NOT_RUN.keys()


def test_what_is_not_run_still_stands_somewhere(repository):
    documents = [repository / "README.md", *guides(repository)]
    assert NOT_RUN.keys() <= {command for document in documents for command in commands(document)}


def test_the_readme_fits_a_page_with_five_commands_at_most_for_each_reader(repository):
    lines = (repository / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    for heading in ("## On a workstation", "## On a box", "## At a camera"):
        start = lines.index(heading)
        end = next(at for at in range(start + 1, len(lines)) if lines[at].startswith("## "))
        fences = [at for at in range(start, end) if lines[at] == "```"]
        assert len(fences) == 2
        assert fences[1] - fences[0] - 1 <= 5
