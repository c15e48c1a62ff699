"""`reverie`: finds the verb's file, runs it, and turns our errors into one line and exit code 1."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import NoReturn

import click

from reverie.device_runtime.engine.installed import require_processor
from reverie.device_runtime.errors import ReverieError
from reverie.device_runtime.redaction import redact

VERBS = {
    "pretrain": "workstation: train a reference solver and GAN from a folder of class-named folders",
    "export": "workstation: torch solver, generator and discriminator to a bundle",
    "rehearse": "workstation: play updates with held-out images, and teach a bundle what they showed",
    "keygen": "workstation: a pair of keys that signs bundles",
    "sign": "workstation: sign a bundle that was exported without a key",
    "inspect": "what a bundle holds",
    "verify": "is all of a bundle or a home what was put there",
    "install": "box: put a bundle into a home, new or with an older one of its family",
    "capture": "box: show things to a camera and name them",
    "serve": "box: the same on a page in a browser of the box",
    "add": "box: store labelled images as frames to learn",
    "frames": "box: what is stored and what was set aside, and why",
    "update": "box: learn new frames with all six stages",
    "predict": "box: classify images with the generation in service",
    "purge": "box: forget frames",
    "status": "box: what is in service and what it has learnt",
    "service": "box: systemd units that update a home, without a network",
    "history": "box: who did what, when and why, with figures",
    "report": "box: a generation as one HTML file, with plots and pictures",
    "rollback": "box: put an earlier generation into service again",
    "bench": "accuracy protocols, speed and memory",
}

# Before numpy is imported, whose products of matrices round otherwise on another number of threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

WORKSTATION_PACKAGES = {"torch", "onnx", "onnxscript", "safetensors"}


class Verbs(click.Group):
    """A group whose commands are imported when they are asked for, so that a box never imports torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which they are used."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command in the file of the same name."""
        del ctx
        if cmd_name not in VERBS:
            return None
        require_processor()
        module = importlib.import_module(f"reverie.tools.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing their files."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reverie")
def reverie() -> None:
    """Update an image classifier on the edge box where it runs, without the data it was first trained on."""


def main() -> None:
    """Entry point of the `reverie` command."""
    try:
        reverie.main(standalone_mode=False)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(redact(said.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except ReverieError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in WORKSTATION_PACKAGES:
            raise
        _fail(f"{error.name} is not installed: this needs the workstation half, the extra `workstation` of Reverie")
    except BrokenPipeError:  # whoever read our lines has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        _fail(f"{what}; check the path, its permissions and the space left")


def _fail(message: str) -> NoReturn:
    click.echo(f"reverie: {' '.join(redact(message).splitlines())}", err=True)
    sys.exit(1)
