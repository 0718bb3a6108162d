"""An MCP server, from its own package; prints its port. Its tools ask for a secret."""

import asyncio
import os
import socket

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import EmptyResult, PingRequest

SECRET = "s3cret-of-the-test"
server = MCPServer("counter")
totals: dict[str, int] = {}
added: list[int] = []


@server.tool()
def add(amount: int, ctx: Context) -> str:
    """Add to the total of this connection."""
    session = ctx.request_context.request.headers["mcp-session-id"]
    totals[session] = totals.get(session, 0) + amount
    added.append(amount)
    return f"total {totals[session]}"


@server.tool()
def count(amount: int) -> int:
    """Return how often this amount was added in this server."""
    return added.count(amount)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no order\0")


@server.tool()
def draw() -> Image:
    """Draw."""
    return Image(data=b"", format="png")


@server.tool()
async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
async def ask_back(ctx: Context) -> str:
    """Ask the client something during a call."""
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    await ctx.session.send_request(PingRequest(), EmptyResult, metadata=related)
    return "answered"


app = server.streamable_http_app(json_response="JSON" in os.environ)


async def check_secret(scope, receive, send):  # type: ignore[no-untyped-def]
    """Refuse requests without the secret."""
    if (
        scope["type"] == "http"
        and dict(scope["headers"]).get(b"authorization") != f"Bearer {SECRET}".encode()
    ):
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await app(scope, receive, send)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads its log, which would fill the pipe
uvicorn.Server(uvicorn.Config(check_secret, log_level="critical")).run([listener])
