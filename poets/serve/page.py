"""The page for people at `/`: one file, which asks the interfaces of this server."""

from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poets.serve.inputs import Inputs, json_response
from poets.serve.models import Model, Models

POLICY = (
    "default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def routes(models: Models, inputs: Inputs) -> list[Route]:
    """Returns the routes of the page and of the figures that it shows."""
    html = resources.files("poets.serve").joinpath("page.html").read_bytes()

    async def page(request: Request) -> Response:
        headers = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
        }
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    async def about(request: Request) -> Response:
        return json_response(
            {
                "fetches_urls": inputs.fetches_urls,
                "models": [_described(model) for model in models if model.serving],
            }
        )

    return [Route("/", page), Route("/about", about)]


def _described(model: Model) -> dict[str, Any]:
    """Returns what the page says about a model."""
    version = model.version()
    metrics = version.description.metrics
    known = ("finished", "model", "images", "accuracy", "per_label", "notes")
    return {
        "name": model.name,
        "version": version.number,
        "labels": list(version.labels),
        "reject_below": model.reject_below,
        **{key: metrics[key] for key in known if key in metrics},
    }
