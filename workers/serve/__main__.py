"""The model server's command line: ``python -m workers.serve --model PATH_OR_ID``.

Arguments are checked before torch is imported, so that help and mistakes show at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from workers.contract.base_models.arguments import add_arguments, add_rendering, read_ref
from workers.process import follow_lifeline, set_environment

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_ROWS = 512
MOST_ADAPTERS = 64


def main(argv: list[str] | None = None) -> int:
    arguments = _build_parser().parse_args(argv)
    if arguments.token_fd is None and arguments.host not in LOOPBACK:
        sys.exit(f"Serving on {arguments.host} needs a token: pass one with --token-fd.")
    follow_lifeline(arguments.lifeline)
    token = _read_token(arguments.token_fd)
    set_environment()
    return _serve(arguments, token)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.serve", description="Serve a base model and adapters."
    )
    add_arguments(parser)
    add_rendering(parser)
    parser.add_argument("--name", help="what callers name the model; default: its id, or its folder's name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: OMP_NUM_THREADS")
    parser.add_argument("--queue", type=int, default=MOST_ROWS, help="most completions that are open")
    parser.add_argument(
        "--adapters", type=int, default=MOST_ADAPTERS, help="most adapters that are loaded at a time"
    )
    parser.add_argument(
        "--token-fd", type=int, help="file descriptor with the token that callers must present"
    )
    parser.add_argument("--lifeline", type=int, help="file descriptor; the server exits when it closes")
    return parser


def _read_token(descriptor: int | None) -> str | None:
    """Read the token from an inherited pipe: it is on no command line, in no environment, on no disk."""
    if descriptor is None:
        return None
    with os.fdopen(descriptor) as pipe:
        token = pipe.read().strip()
    if not token:
        sys.exit("The file descriptor of --token-fd holds no token. Write one to it and close it.")
    return token


def _serve(arguments: argparse.Namespace, token: str | None) -> int:
    import torch
    import uvicorn

    from workers.engine.base_model.models import load, pick_device
    from workers.engine.errors import EngineError
    from workers.serve.adapters import Adapters
    from workers.serve.api import Api
    from workers.serve.batching import Batcher
    from workers.serve.chat import Chat
    from workers.serve.runners import build_runner

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        base = load(read_ref(arguments), Path.cwd(), pick_device(arguments.device))
    except EngineError as error:
        sys.exit(f"{error.code}: {error.message} {error.remedy}\n{error.detail}")
    chat, runner = Chat(base, arguments.name or base.ref.id), build_runner(base.model)
    batcher, adapters = Batcher(runner), Adapters(runner.shapes, chat.name, arguments.adapters)
    batcher.start()
    api = Api(chat, batcher, adapters, token, arguments.queue)
    config = uvicorn.Config(
        api.build_app(),
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
    )
    with config.bind_socket() as socket:
        socket.listen()
        print(json.dumps({"port": socket.getsockname()[1]}), flush=True)
        uvicorn.Server(config).run(sockets=[socket])
    return 0


if __name__ == "__main__":
    sys.exit(main())
