"""Signatures of bundles: Ed25519 over the exact bytes of the manifest, which holds the hash of every other file.

Keys are PEM files, as OpenSSL reads and writes them. The library is imported where a key is used and nowhere else, so
that a box does not wait for it before it predicts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from reverie.device_runtime.errors import SignatureError
from reverie.device_runtime.files import read_file

SIGNATURE_BYTES = 64
MAX_KEY = 4096


def make_keys() -> tuple[bytes, bytes]:
    """A new private key, not encrypted, and its public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def sign(content: bytes, key: Path) -> bytes:
    """The signature (64 bytes) of `content` with the private key in the file `key`. Raises SignatureError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise SignatureError(f"{key} holds no private Ed25519 key without a password: make one with reverie keygen")
    return private.sign(content)


def read_public_key(key: Path) -> bytes:
    """The public key in a PEM file, as that file holds it. Raises SignatureError."""
    pem = _read(key)
    _raw(pem, key)
    return pem


def check(content: bytes, signature: bytes | None, key: bytes, where: object) -> None:
    """Raise SignatureError unless `signature` is that of `content` by the public `key`, a PEM file's content."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(_raw(key, "the key"))
    if signature is None:
        raise SignatureError(f"{where} is not signed: sign it with the key that belongs to {key_id(key)}")
    try:
        public.verify(signature, content)
    except InvalidSignature:
        raise SignatureError(
            f"{where} is not signed by the key {key_id(key)}, or was altered since: take it from its provider again"
        ) from None


def key_id(key: bytes) -> str:
    """A short name for a public key: 16 digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(_raw(key, "the key")).hexdigest()[:16]


def _raw(pem: bytes, where: object) -> bytes:
    """The 32 bytes of a public key. Raises SignatureError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise SignatureError(f"{where} holds no public Ed25519 key: give the .pub file that reverie keygen wrote")
    return public.public_bytes_raw()


def _read(key: Path) -> bytes:
    try:
        return read_file(key, MAX_KEY)
    except OSError as error:
        raise SignatureError(f"cannot read the key {key} ({error.strerror or error}): check the path") from None
