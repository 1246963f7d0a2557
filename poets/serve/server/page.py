"""The page for people at `/`: one file, which asks the interfaces of this server.

It links to the report of a model's training, if that is beside the model.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from poets.errors import PoetsError
from poets.report import REPORT
from poets.serve.server.errors import not_found
from poets.serve.server.inputs import Inputs, json_response
from poets.serve.server.models import Model, Models, Version
from poets.storage import exists, folder_of, is_folder, join, open_storage, read_url

SANDBOX = "sandbox; frame-ancestors 'none'"
"""The policy of a report, beside its own: anyone may have written the file."""


def routes(models: Models, inputs: Inputs) -> list[Route]:
    """Returns the routes of the page and of the figures that it shows."""
    file = resources.files("poets.serve.server") / "page.html"
    html = file.read_text("utf-8")
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": _policy(html),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def page(request: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def about(request: Request) -> Response:
        described = [
            {**_described(model), "has_report": bool(await _report(model))}
            for model in models
            if model.serving
        ]
        return json_response({"fetches_urls": inputs.fetches_urls, "models": described})

    async def report(request: Request) -> Response:
        model = models.find(request.path_params["name"])
        if url := await _report(model):
            html = await asyncio.to_thread(read_url, url)
            policy = {**headers, "content-security-policy": SANDBOX}
            return HTMLResponse(html, headers=policy)
        raise not_found(f"{REPORT} of {model.name}")

    return [Route("/", page), Route("/about", about), Route("/report/{name}", report)]


def _policy(html: str) -> str:
    """Returns a policy that allows the page's own style and script, and no others."""
    allowed = {}
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        allowed[name] = f"{name}-src 'sha256-{digest}'"
    return (
        f"default-src 'none'; {allowed['style']}; {allowed['script']}; connect-src "
        "'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types "
        "'none'"
    )


async def _report(model: Model) -> str:
    """Returns the URL of the report of a model's training, "" if there is none."""
    version = model.version()
    if not version.description.metrics:  # it is not beside its run
        return ""
    with contextlib.suppress(PoetsError, OSError):  # the storage may not answer now
        return await asyncio.to_thread(_beside, version)
    return ""


def _beside(version: Version) -> str:
    url = version.url
    folder = url if is_folder(*open_storage(url)) else folder_of(url)
    report = join(folder, REPORT)
    return report if exists(report) else ""


def _described(model: Model) -> dict[str, Any]:
    """Returns what the page says about a model."""
    version = model.version()
    metrics = version.description.metrics
    known = ("finished", "model", "images", "accuracy", "per_label", "notes")
    return {
        "name": model.name,
        "version": version.number,
        "labels": list(version.labels),
        "reject_below": version.reject_below,
        **{key: metrics[key] for key in known if key in metrics},
    }
