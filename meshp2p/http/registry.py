"""The registry's endpoints: register, heartbeat, deregister, list, and the leader."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeVar

import msgspec

from meshp2p.core.instance import ListedInstance
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import InstanceConflict
from meshp2p.http.access import check_acts_as, check_may_host
from meshp2p.http.backend import Backend
from meshp2p.http.body import BadRequest, encode_json
from meshp2p.http.listing import Listing
from meshp2p.http.request import Handler, Request, Response, json_response, query_flag
from meshp2p.http.serialize import detail_of, instance_of, leader_of, profile_of
from meshp2p.wire.contract import (
    HeartbeatRequest,
    HeartbeatResponse,
    MeshInstance,
    RegisterRequest,
)

__all__ = ["registry_handlers"]

_T = TypeVar("_T")

_STEP_INSTANCES: Final = 100  # chosen, not measured


def registry_handlers(node: Backend) -> dict[str, Handler]:
    """Return the handlers of the routes under ``/registry``, answered by ``node``."""
    listing = Listing(node)

    async def check_owner(request: Request, instance_id: str) -> None:
        """Raise ``InstanceConflict`` if the instance is live and belongs to another caller, unless this caller is an
        admin."""
        grant = request.grant
        if grant is None or grant.is_admin:
            return
        owner_id = await node.owner_of(instance_id)
        request.check_access()  # the caller may have been revoked meanwhile
        if owner_id not in ("", grant.owner):
            raise InstanceConflict(f"instance {instance_id!r} was registered by another caller, and lives")

    async def register(request: Request) -> Response:
        body = await request.read_json(RegisterRequest)
        if len(body.instance_id.encode()) > ID_BYTES_MAX:
            size = len(body.instance_id.encode())
            raise BadRequest(422, f"instance_id of {size} bytes at $.instance_id: expected 1 to {ID_BYTES_MAX}")
        check_acts_as(request, body.instance_id)
        check_may_host(request, body.instance_id)
        await check_owner(request, body.instance_id)
        await node.register(profile_of(body), owner(request))
        leader, peers = node.leader_id, listing.encoded()
        head = {
            "success": True,
            "instance_id": body.instance_id,
            "is_leader": leader == body.instance_id,
            "leader_id": leader,
        }
        return json_response((encode_json(head)[:-1] + b',"peers":', peers, b"}"))

    async def heartbeat(request: Request) -> Response:
        instance_id = request.path_id()
        body = await request.read_json(HeartbeatRequest)
        metrics = "" if body.metrics is None else msgspec.json.encode(body.metrics).decode()
        reply = await node.heartbeat(instance_id, body.status, metrics, owner(request))
        response = HeartbeatResponse(reply.is_acknowledged, node.leader_id, reply.should_sync)
        return json_response(response, 200 if reply.is_acknowledged else 404)

    async def deregister(request: Request) -> Response:
        instance_id = request.path_id()
        check_may_host(request, instance_id)
        await check_owner(request, instance_id)
        was_found = await node.deregister(instance_id)
        return Response(204 if was_found else 404)

    async def list_agents(request: Request) -> Response:
        query = request.query_values()
        capabilities, profiles, statuses = (query.get(key, ()) for key in ("capability", "profile", "status"))
        shows_all, only_leader = query_flag(query, "detail"), query_flag(query, "leader")

        def is_wanted(instance: ListedInstance) -> bool:
            return (
                all(name in instance.capabilities for name in capabilities)
                and all(name in instance.profiles for name in profiles)
                and all(status == instance.status for status in statuses)
                and (instance.is_leader or not only_leader)
            )

        if not (capabilities or profiles or statuses or shows_all or only_leader):
            instances = listing.encoded()
        else:
            wanted = [one for one in listing.instances() if is_wanted(one)]
            instances = await request.incoming.run_steps(_encode(wanted, detail_of if shows_all else instance_of))
        return json_response((b'{"instances":', instances, b',"leader_id":%s}' % encode_json(node.leader_id)))

    async def show_agent(request: Request) -> Response:
        instance_id = request.path_id()
        return json_response(detail_of(_expect(await node.look_up(instance_id), instance_id)))

    async def ping(request: Request) -> Response:
        instance_id = request.path_id()
        return json_response(_expect(await node.ping(instance_id), instance_id))

    async def show_leader(_request: Request) -> Response:
        return json_response(leader_of(node.leader, node.id))

    return {
        "register": register,
        "list_agents": list_agents,
        "show_agent": show_agent,
        "ping": ping,
        "heartbeat": heartbeat,
        "deregister": deregister,
        "show_leader": show_leader,
    }


def owner(request: Request) -> str:
    """Return the owner of an instance that this caller registers; empty in an open mesh, where instances have none."""
    return "" if request.grant is None else request.grant.owner


def _expect(found: _T | None, instance_id: str) -> _T:
    if found is None:
        raise BadRequest(404, f"Instance {instance_id!r} not found")
    return found


def _encode(
    instances: Sequence[ListedInstance], show: Callable[[ListedInstance], MeshInstance]
) -> Generator[None, None, bytes]:
    """Encode a part of the list. A long one takes a second step, so that one turn of the loop does not encode several
    long ones."""
    if len(instances) > _STEP_INSTANCES:
        yield
    return encode_json(list(map(show, instances)))
