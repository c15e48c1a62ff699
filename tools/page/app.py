"""What the page's server answers: the page itself, the state of its Session, pictures, and what it is asked to do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.preprocess import resized_by
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import FramesError, ReverieError
from reverie.device_runtime.home import store
from reverie.device_runtime.home.pictures import SYNTHESISED, picture_of_classes
from reverie.device_runtime.serving import probation
from reverie.tools.region import Region, region_of
from reverie.tools.views.session import Session
from reverie.tools.views.snapshot import Snapshot

SHOWN_SIDE = 640
"""Pixels of the longer side of a picture on the page."""
QUALITY = 80
PATIENCE = 1.0
"""Seconds to wait for a frame that the page has not got."""
HOLD_SECONDS = 1.5
"""A hold that is not renewed ends: the page may be gone."""
HASHES = frozenset({"bundle", "frames", "made"})
"""Facts of the audit log that say nothing to a reader; frames are counted by label elsewhere."""
POINTS = 120
"""Of a loss curve."""
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("page", "box", "look", "teach", "learn")},
}


class Page:
    """Answers about one session. Its functions run in threads, so that none waits for another."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._encoded: tuple[int, bytes] = (0, b"")
        self._pictures: dict[tuple[str, str], bytes | None] = {}

    def app(self) -> Starlette:
        """The server's application."""
        changes: dict[str, Callable[[dict[str, Any]], object]] = {
            "/keep": lambda asked: self._session.keep(_label(asked)).result(),
            "/hold": lambda asked: self._session.hold(_label(asked), seconds=HOLD_SECONDS),
            "/release": lambda _: self._session.hold(None),
            "/name": lambda asked: self._session.name(_label(asked)),
            "/answer": lambda asked: self._session.answer(_optional_label(asked)),
            "/region": lambda asked: self._session.look_at(_region(asked)),
            "/update": lambda _: self._session.start_update(),
            "/insist": lambda _: self._session.start_update(insist=True),
            "/stop": lambda _: self._session.stop_update(),
            "/accept": lambda asked: self._session.accept(_text(asked, "generation")),
            "/roll-back": lambda asked: self._session.roll_back("on the page", _text(asked, "generation")),
            "/purge": lambda asked: self._session.purge(_optional_label(asked)),
        }
        answers: dict[str, Callable[[Request], Response]] = {
            "/state": lambda _: JSONResponse(_state(self._session.snapshot)),
            "/frame.jpg": self._frame,
            "/asked.jpg": self._asked,
            "/result": lambda _: JSONResponse(_result(self._session.home)),
            "/generated.png": lambda _: self._picture("generated"),
            "/synthesised.png": lambda _: self._picture("synthesised"),
            "/past": lambda _: JSONResponse(_past(self._session)),
        }
        return Starlette(
            routes=[
                *(Route(path, _file(*FILES[path])) for path in FILES),
                *(Route(path, _answered(answer)) for path, answer in answers.items()),
                *(Route(path, _change(change), methods=["POST"]) for path, change in changes.items()),
            ]
        )

    def _frame(self, request: Request) -> Response:
        """The newest frame as JPEG, once it is another than `after`; encoded once, whoever asks."""
        after = request.query_params.get("after", "")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            moment = self._session.moment
            if moment is not None and str(moment.number) != after:
                if self._encoded[0] != moment.number:
                    self._encoded = (moment.number, _jpeg(moment.image))
                number, content = self._encoded
                return Response(content, media_type="image/jpeg", headers={"X-Frame": str(number)})
            time.sleep(0.01)
        return Response(status_code=204)

    def _asked(self, _request: Request) -> Response:
        asking = self._session.snapshot.asking
        return Response(status_code=404) if asking is None else Response(_jpeg(asking.region), media_type="image/jpeg")

    def _picture(self, kind: str) -> Response:
        """A picture of the generation in service, made once."""
        name = store.current(self._session.home)
        if (kind, name) not in self._pictures:
            generation = store.read_generation(self._session.home, name)
            if kind == "synthesised":
                made = store.read_picture(self._session.home, generation)
            else:
                made = picture_of_classes(store.load_models(self._session.home, generation))
            self._pictures = {key: made for key, made in self._pictures.items() if key[1] == name} | {
                (kind, name): made
            }
        picture = self._pictures[kind, name]
        return Response(status_code=404) if picture is None else Response(picture, media_type="image/png")


def _state(now: Snapshot) -> dict[str, Any]:
    """What the page asks for four times a second."""
    moment, update = now.moment, now.update
    return {
        "generation": now.generation,
        "camera": {"name": now.camera.name, "says": now.camera.says},
        "size": now.camera.size,
        "region": now.region,
        "seen": moment.prediction.likeliest(5) if moment else [],
        "rate": now.rate,
        "milliseconds": 1000 * moment.seconds if moment else 0.0,
        "labels": now.labels,
        "counts": now.counts,
        "set_aside": now.set_aside,
        "holding": now.holding,
        "suggested": now.suggested,
        "asking": now.asking.number if now.asking else None,
        "last": None if now.last is None else {"label": now.last.label, "reason": now.last.reason, "at": now.last.at},
        "trouble": now.trouble,
        "unfinished": now.unfinished,
        "update": None
        if update is None
        else {
            "stage": update.stage,
            "share": update.share,
            "left": update.left,
            "outcome": update.outcome,
            "says": update.says,
            "held_back": update.held_back,
            "losses": {stage: _thinned(losses) for stage, losses in update.losses.items()},
        },
    }


def _result(home: Path) -> dict[str, Any]:
    """What the generation in service learnt."""
    generation = store.read_generation(home)
    report = store.read_report(home, generation.name) or {}
    features = read_manifest(home / "bundles" / generation.bundle, generation.bundle).backbone is not None
    return {
        "classes": [{name: row[name] for name in ("label", "before", "after")} for row in report.get("classes", [])],
        "agreement": report.get("agreement"),
        "parent": generation.parent,
        "on_probation": probation.is_on_probation(home, generation.name),
        "features": features,
        "generated": not features,
        "synthesised": SYNTHESISED in generation.files,
    }


def _past(session: Session) -> dict[str, Any]:
    """The audit log as lines, newest first, and what is stored and set aside."""
    history = [{"at": entry.at[:19].replace("T", " "), "says": _says(entry.event, json.loads(entry.facts))}
               for entry in reversed(transaction.audit_log(session.home))]  # fmt: skip
    frames: dict[str, dict[str, Any]] = {}
    for frame in session.frames():
        own = frames.setdefault(frame.label, {"to_learn": 0, "learnt": 0, "set_aside": Counter()})
        if frame.reason is None:
            own["to_learn" if frame.generation is None else "learnt"] += 1
        else:
            own["set_aside"][frame.reason] += 1
    return {"history": history, "frames": frames}


def _says(event: str, facts: dict[str, Any]) -> str:
    told = [
        f"{name.replace('_', ' ')} {_figure(value)}"
        for name, value in facts.items()
        if name not in HASHES and value not in ("", None)
    ]
    return f"{event}: {'; '.join(told)}" if told else event


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_figure(part) for part in value)
    return f"{value:.0%}" if isinstance(value, float) else str(value)


def _answered(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """An endpoint that tells something; what cannot be told is said in one line."""

    def endpoint(request: Request) -> Response:
        try:
            return answer(request)
        except ReverieError as error:
            return JSONResponse({"says": str(error)}, 409)

    return endpoint


def _change(change: Callable[[dict[str, Any]], object]) -> Callable[[Request], Any]:
    """An endpoint that does something; what cannot be done is said in one line."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = await request.json()
            if not isinstance(asked, dict):
                raise FramesError("what is asked is no JSON object")
            await run_in_threadpool(change, asked)
        except (ReverieError, ValueError) as error:
            return JSONResponse({"says": str(error)}, 409 if isinstance(error, ReverieError) else 400)
        return JSONResponse({"says": ""})

    return endpoint


def _text(asked: dict[str, Any], name: str) -> str:
    text = asked.get(name)
    if not isinstance(text, str):
        raise ValueError(f"a {name} is a text")  # noqa: TRY004 (what came was wrong, not our code)
    return text


def _label(asked: dict[str, Any]) -> str:
    return _text(asked, "label")


def _optional_label(asked: dict[str, Any]) -> str | None:
    return None if asked.get("label") is None else _label(asked)


def _region(asked: dict[str, Any]) -> Region | None:
    area = asked.get("region")
    return None if area is None else region_of(area)


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    content = resources.files("reverie.tools").joinpath("page", name).read_bytes()
    return lambda _request: Response(content, media_type=f"{kind}; charset=utf-8")


def _jpeg(image: np.ndarray) -> bytes:
    scale = SHOWN_SIDE / max(image.shape[:2])
    if scale < 1:
        image = resized_by(image, scale)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def _thinned(losses: tuple[float, ...]) -> list[float]:
    return [round(loss, 4) for loss in losses[:: max(1, -(-len(losses) // POINTS))]]
