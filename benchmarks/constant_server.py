"""A server that answers every request with a constant: what its libraries cost.

    python -m benchmarks.constant_server PORT GRPC_PORT

uvicorn and `grpc.aio` run as in `poets serve`.
"""

import sys
from typing import Any

import grpc
import uvicorn
import uvloop

ANSWER = b"x" * 180
"""As long as the scores of five labels."""

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"180")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers a request of HTTP after its body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


async def predict(request: bytes, context: Any) -> bytes:
    """Answers a request of gRPC."""
    return ANSWER


async def main(port: int, grpc_port: int) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
    methods = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    service = "tensorflow.serving.PredictionService"
    handler = grpc.method_handlers_generic_handler(service, methods)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    config = uvicorn.Config(
        *(app, "127.0.0.1", port),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
