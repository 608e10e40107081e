"""The page of two models on the same images: what `GET /compare` answers."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.session import Configured, Reading
from app.results.predictions.comparison import compare
from app.results.predictions.routes import Reference, side_of
from app.results.predictions.schemas import ClassAccuracy
from app.results.predictions.stored import SPLIT_NAMES, Split
from app.results.predictions.wording import p_text
from app.web.render import page
from app.web.routing import FOLLOWS, page_router

router = page_router()
MAX_CLASSES = 100


@router.get("/ui/compare/pair", dependencies=FOLLOWS)
def pair_page(
    request: Request,
    a: Reference,
    b: Reference,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    split: Split = "test",
) -> Response:
    """Difference, calibration, oracle and accuracy by class of two models."""
    comparison = compare(settings, side_of(session, a), side_of(session, b), split)
    return page(
        request,
        "compare/pair.html",
        comparison=comparison,
        classes=_most_different(comparison.by_class),
        images=SPLIT_NAMES[split],
        p_text=p_text,
    )


def _most_different(classes: list[ClassAccuracy]) -> list[ClassAccuracy]:
    """As many classes as a page can show, in order: those on which the two models differ most."""
    chosen = sorted(classes, key=lambda row: -abs((row.a or 0.0) - (row.b or 0.0)))[:MAX_CLASSES]
    return sorted(chosen, key=lambda row: row.label)
