"""What a rehearsal found goes into the manifest of a bundle, which is signed again if it was signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.manifest import MANIFEST, SIGNATURE, Manifest
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.bundle.rehearsal import Rehearsal
from reverie.device_runtime.bundle.sources import Folder, accept
from reverie.device_runtime.errors import BundleError, SignatureError
from reverie.tools.output_file import replace_in_bundle


def rehearse_bundle(bundle: Path, key: Path | None, run: Callable[[Path, Manifest], Rehearsal]) -> Manifest:
    """Let `run` rehearse the folder `bundle`, and write what it found into its manifest; the private `key` signs it.

    The bundle is as new as today from then on, so that boxes that have it take it. Raises BundleError, SignatureError,
    FramesError and leaves it as it was.
    """
    if bundle.is_file():
        raise BundleError(f"{bundle} is one file: rehearse the folder that it was made from, and export to .zip again")
    accepted = accept(Folder(bundle), None)
    if accepted.signature is not None and key is None:
        raise SignatureError(f"{bundle} is signed, and its manifest will change: give --key to sign it again")
    if key is not None:
        signing.sign(b"", key)  # a key that cannot sign is told before the work
    found = run(bundle, accepted.manifest)
    created = max(accepted.manifest.made, datetime.now(timezone.utc)).isoformat(timespec="seconds")
    manifest = replace(accepted.manifest, rehearsal=found, created=created)
    text = manifest.to_json().encode()
    parse_manifest(text, bundle)
    if key is not None:
        # Before the manifest: a cut between the two is noticed, as the signature is of another one.
        replace_in_bundle(bundle / SIGNATURE, signing.sign(text, key))
    replace_in_bundle(bundle / MANIFEST, text)
    return manifest
