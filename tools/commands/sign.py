"""`reverie sign`: sign a bundle that was exported without a key."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("sign")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Private key, as reverie keygen wrote it.")
def command(bundle: Path, key: Path) -> None:
    """Check the folder BUNDLE and sign its manifest, in place of a signature that it may have."""
    from reverie.device_runtime.bundle import signing
    from reverie.device_runtime.bundle.manifest import SIGNATURE
    from reverie.device_runtime.bundle.sources import Folder, accept
    from reverie.tools.output_file import replace_in_bundle

    accepted = accept(Folder(bundle), None)
    replace_in_bundle(bundle / SIGNATURE, signing.sign(accepted.text, key))
    click.echo(f"{bundle} is signed; any change of it is noticed from now on")
