"""A node inside the loop of somebody else's server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshp2p.aio
import meshp2p.blocking
from tests.facades.meshes import LONG, has_left, options


def test_a_node_lives_as_long_as_the_web_application_that_embeds_it() -> None:
    with meshp2p.blocking.open_node(**options("a")) as a, a.events() as events:

        @a.handler("Query")
        def answer(number: int) -> int:
            return number + 1

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
            async with meshp2p.aio.open_node(**options("web", a)) as node:
                await node.wait_for_members(2)

                @node.handler("Query")
                async def echo(value: Any) -> Any:
                    return await node.query("a", value)

                yield {"node": node}

        async def ask(request: Request) -> JSONResponse:
            node: meshp2p.aio.MeshNode = request.state.node
            return JSONResponse(await node.query("a", int(request.query_params["n"])))

        async def main() -> None:
            app = Starlette(routes=[Route("/ask", ask)], lifespan=lifespan)
            server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", log_level="error"))
            with socket.create_server(("127.0.0.1", 0)) as listener:
                serving = asyncio.create_task(server.serve([listener]))
                async with httpx.AsyncClient(trust_env=False, timeout=LONG) as client:
                    response = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/ask?n=6")
                assert response.json() == 7
                assert await asyncio.to_thread(a.query, "web", 8) == 9
                server.should_exit = True
                await serving

        asyncio.run(main())
        while not has_left("web")(events.get(timeout=LONG)):
            pass
