"""Whatever is secret in an address is in no message, and what is not secret stays readable."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime import errors
from reverie.device_runtime.redaction import redact

SECRET = "Q7w9"  # noqa: S105 (made up): not part of anything else here
no_space = st.text(st.characters(exclude_categories=["Z", "C"]), max_size=8)
hosts = st.from_regex(r"\A[a-z]{1,6}(\.[a-z]{1,6})?(:[0-9]{2,4})?\Z")
schemes = st.sampled_from(["rtsp", "http", "https", "rtsps", "1-odd.scheme+x", "RTSP"])
slashes = st.sampled_from(["/", "//", "///"])
around = st.text(max_size=12)


@given(around, schemes, slashes, no_space, no_space, hosts, around)
def test_a_password_is_never_shown_whatever_it_holds(before, scheme, slash, left, right, host, after):
    said = redact(f"{before} {scheme}:{slash}admin:{left}{SECRET}{right}@{host}/stream {after}")
    assert SECRET not in said
    assert "admin" not in said


@given(schemes, slashes, hosts, st.sampled_from("?#"), no_space, no_space)
def test_what_follows_the_path_is_never_shown(scheme, slash, host, mark, left, right):
    said = redact(f"cannot open {scheme}:{slash}{host}/a{mark}{left}={SECRET}{right}: no answer")
    assert SECRET not in said
    assert said.startswith("cannot open ")


@given(st.text())
def test_what_was_redacted_once_is_not_changed_again(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("given_text", "said"),
    [
        ("rtsp://admin:pass@camera:554/stream does not answer", "rtsp://***@camera:554/stream does not answer"),
        ("rtsp://camera:554/stream does not answer", "rtsp://camera:554/stream does not answer"),
        ("http://camera/video?token=a&b=c", "http://camera/video?***"),
        ("rtsp:/admin:pass@camera/stream does not exist", "rtsp:/***@camera/stream does not exist"),
        ("rtsp://u:p@a/1 and rtsp://v:q@b/2", "rtsp://***@a/1 and rtsp://***@b/2"),
        ("http://camera/video?mail=a@b", "http://***"),
        (
            "/var/lib/reverie/frames/a@b?c.png is no image: remove it",
            "/var/lib/reverie/frames/a@b?c.png is no image: remove it",
        ),
        ("10:30 at 2/3", "10:30 at 2/3"),
    ],
)
def test_the_rest_of_a_message_stays_as_it_is(given_text, said):
    assert redact(given_text) == said


def test_a_long_message_takes_no_time_of_its_square():
    """A regular expression that starts anew at every letter would take hours for this one."""
    assert redact("a" * 5_000_000).startswith("aaa")


ALL_ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ReverieError)]


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_of_ours_holds_a_password(kind):
    error = kind(f"cannot open rtsp://admin:{SECRET}@camera/stream")
    assert SECRET not in str(error) + repr(error) + repr(error.args)
