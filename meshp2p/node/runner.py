"""Putting a node together, running it, and taking it apart."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable

import trio

from meshp2p.core.events import Event, IdConflictLost, InstanceEvent, LeadershipChanged, MapChanged
from meshp2p.core.machine import Machine
from meshp2p.core.record import tag_of
from meshp2p.core.swim.hosting import Profile
from meshp2p.discovery.cache import KnownPeer
from meshp2p.discovery.source import Sighting
from meshp2p.errors import ConfigError, IdConflict, MeshError, StartError
from meshp2p.http.access import Access
from meshp2p.http.app import make_app
from meshp2p.http.serialize import rfc3339
from meshp2p.http.server import HttpServer
from meshp2p.net.driver import Driver
from meshp2p.net.port import Listener, Port
from meshp2p.net.security import Security
from meshp2p.node.administration import Administration
from meshp2p.node.config import NodeConfig
from meshp2p.node.events import event_log, event_text
from meshp2p.node.history import History
from meshp2p.node.identity import Self
from meshp2p.node.interface_monitor import monitor_interfaces
from meshp2p.node.local_map import LocalMaps
from meshp2p.node.local_node import LocalNode
from meshp2p.node.metrics import Measured, expose
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.platform import Bound, Disk, Platform, Surroundings
from meshp2p.node.recordings import NodeMachine, Recordings
from meshp2p.node.reporting import Reports
from meshp2p.node.self_check import SelfCheck
from meshp2p.node.status import StatusBoard
from meshp2p.node.subscriptions import Subscriptions
from meshp2p.node.tracing import Tracing
from meshp2p.recording.recorder import Recorder
from meshp2p.version import __version__
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import PeerHello

__all__ = ["open_node_on"]

_log = logging.getLogger("meshp2p.node")

_CACHE_INTERVAL = 30.0  # seconds between two writes of the peers that were met: chosen, not measured


@contextlib.asynccontextmanager
async def open_node_on(platform: Platform, config: NodeConfig) -> AsyncIterator[LocalNode]:
    """Run a node in a world that need not be this machine: see :func:`meshp2p.open_node`."""
    config = platform.choose_mesh(config)
    own = Self(config, platform)
    try:
        while True:
            try:
                async with _Runner(config, platform, own).run() as node:
                    yield node
                return
            except _IdIsTaken:
                _log.warning("the id %r is another live node's as well: taking a new one", own.identity.id)
                own.replace_id()
    finally:
        own.close()


class _IdIsTaken(Exception):
    """The id that was made once is another's too, and nobody was told of this node yet."""


class _Runner:
    """One life of a node under one id."""

    def __init__(self, config: NodeConfig, platform: Platform, own: Self) -> None:
        self._config = config
        self._platform = platform
        self._own = own
        self._subscriptions = Subscriptions()
        self._maps = LocalMaps()
        self._recordings: Recordings
        self._lost_id: IdConflictLost | None = None
        self._failure: MeshError | None = None
        self._scope = trio.CancelScope()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[LocalNode]:
        config, platform, own = self._config, self._platform, self._own
        tracing = _tracing_of(config, own.identity.id)
        security = platform.open_security(config, own.identity.id)
        if security is not None:
            config = NodeConfig.of(config, mesh=security.mesh, host=config.host or "::")
        access = _access_of(security, config, platform)
        bound = platform.bind(config)
        codec = Codec(config.mesh_name)
        profile = Profile(
            own.identity.id,
            config.hostname or platform.hostname,
            bound.port,
            config.capabilities,
            config.profiles,
        )
        has_begun = serves = False
        try:
            around = await self._look_around(bound)
            _show_names(security, around)
            kept_messages = None if own.disk is None else own.disk.load_messages()
            loss = None if own.disk is None else own.disk.loss
            if loss is not None:
                _log.error("%s", loss)
            recordings = self._recordings = Recordings(
                Recorder(platform.wall_ms, config.mesh_name), own.disk, platform.wall_ms
            )
            machine = NodeMachine(
                profile,
                around.place.addresses,
                config.protocol,
                platform.random,
                platform.wall_ms,
                own.identity.kept,
                kept_messages,
                lease_clock=platform.lease_clock,
                age=0.0 if own.disk is None else own.disk.age,
                signer=None if security is None else security.signer,
                process=0 if security is None else security.process,
                give_up=self._give_up,
                recorder=recordings.recorder,
                note_fault=recordings.note_fault,
            )
            peers = platform.make_peers(codec, PeerHello(machine.id, machine.own.boot), security)
            port = Port(bound.listener, peers.serve_stream, None if security is None else peers.serve_tls)
            async with open_plain_nursery() as nursery:
                self._scope = nursery.cancel_scope
                keep = None if own.disk is None else own.keep
                store = None if own.disk is None else own.disk.store
                driver = Driver(machine, codec, bound.datagrams, peers, self._emit, keep, store, security)
                place = around.place
                node = LocalNode(
                    self._config,
                    driver,
                    self._subscriptions,
                    self._maps,
                    place.addresses,
                    platform.random,
                    platform.wall_ms,
                    peers,
                    tracing,
                )
                node.loss = loss
                app = make_app(node, __version__, lambda: around.allowed_hosts, config.allow_origins, access)
                server = HttpServer(app, config.limits, server_header=f"meshp2p/{__version__}")
                measured = Measured(
                    node, driver, bound.datagrams, peers, port, server.stats, self._subscriptions, recordings
                )
                node.metrics = functools.partial(expose, measured)
                node.recording = functools.partial(recordings.take, "record")
                history = History(_why_revoked_of(security), lambda: rfc3339(platform.wall_ms()))
                self._subscriptions.add(history)
                board = StatusBoard(
                    measured,
                    history,
                    Reports(measured, peers, platform.wall_ms),
                    platform.wall_ms,
                    mesh=self._config.mesh_name,
                    is_secured=security is not None,
                )
                node.make_status, node.answering.report = board.status, board.own_report
                served = trio.Event()

                def offer(sighting: Sighting) -> None:
                    node_id = sighting.instance_id
                    if security is not None and sighting.source in ("mdns", "beacon"):
                        node_id = _id_behind(machine, node_id or "")
                    driver.perform(machine.offer(sighting.source, sighting.addresses, node_id, trio.current_time()))

                def update(found: Surroundings) -> None:
                    nonlocal around
                    around = found
                    _show_names(security, found)
                    node.addresses = found.place.addresses
                    now = trio.current_time()
                    driver.perform(machine.readdress(found.place.addresses, now, hostname=found.hostname))

                with trio.CancelScope(shield=True):  # once it runs, only the end below ends it
                    parts: trio.Nursery = await nursery.start(_shelter)
                try:
                    await parts.start(peers.run, driver, node.answering.serve)
                    await parts.start(driver.run)
                    parts.start_soon(recordings.run, machine)
                    await parts.start(node.run_agent)
                    await parts.start(_serve, server, port.http, served)
                    await parts.start(port.run)
                    serves = True
                    known = () if own.disk is None else await own.disk.load_peers()
                    announced = node.id if security is None else _pseudonym_of(node.id)
                    measured.sources = sources = platform.sources(
                        config, announced, around.place, known, lambda: machine.node_count() - 1
                    )
                    for source in sources:
                        parts.start_soon(source.run, offer)
                    look = functools.partial(platform.look_around, config, bound)
                    parts.start_soon(
                        monitor_interfaces, look, platform.wall_ms, around, sources, update, driver.sleep_with_slack
                    )
                    check = SelfCheck(
                        self._config,
                        bound.host,
                        driver,
                        peers,
                        sources,
                        platform.why_no_network,
                        functools.partial(platform.count_secured, self._config),
                        self._subscriptions.put,
                    )
                    parts.start_soon(check.run)
                    parts.start_soon(board.series.run, driver.sleep_with_slack)
                    node.admin = _admin_of(security, node, machine, parts, bound.host)
                    parts.start_soon(board.run_link_watch)
                    if security is not None:
                        parts.start_soon(self._end_if_revoked, security)
                    if own.disk is not None:
                        parts.start_soon(_keep_peers, node, own.disk)
                    await driver.wait_until(lambda: machine.is_announced or machine.has_lost_id)
                    has_begun = not machine.has_lost_id
                    if has_begun:
                        node.answering.open()
                        yield node
                finally:
                    server.shut_down()  # first: what clients still send must not delay the farewell
                    if not machine.has_lost_id:
                        await node.leave()
                    self._subscriptions.end()
                    self._maps.end()
                    port.shut_down()
                    if serves:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + config.limits.grace_seconds):
                            await served.wait()
                    parts.cancel_scope.cancel()
        finally:
            await bound.close()
        if self._failure is not None:
            raise self._failure
        if self._lost_id is not None:
            if not has_begun and own.identity.is_generated:
                raise _IdIsTaken
            raise _conflict_of(self._lost_id, config)

    async def _look_around(self, bound: Bound) -> Surroundings:
        try:
            return await self._platform.look_around(self._config, bound)
        except OSError as error:
            raise StartError(f"the interfaces of this machine cannot be listed: {error}") from error

    async def _end_if_revoked(self, security: Security) -> None:
        error = await security.trust.wait_revoked()
        _log.error("%s", error)
        self._give_up(error)

    def _give_up(self, error: MeshError) -> None:
        self._failure = error
        self._scope.cancel()

    def _emit(self, event: Event | MapChanged) -> None:
        if isinstance(event, MapChanged):
            self._maps.put(event)
            return
        match event:
            case IdConflictLost():
                self._lost_id = event
                self._scope.cancel()
            case LeadershipChanged():
                event_log.info("leader is now %s (epoch %d), was %s", event.leader_id, event.epoch, event.previous_id)
            case InstanceEvent():
                event_log.info("%s: %s", type(event).__name__, event.id)
            case _:
                event_log.warning("%s", event_text(event))
        self._recordings.note(event)
        self._subscriptions.put(event)


def _why_revoked_of(security: Security | None) -> Callable[[bytes, str], str]:
    """Return the function that says why an agent on a machine was revoked."""
    if security is None:
        return lambda _machine, _agent: ""
    trust = security.trust.credential.trust
    return lambda machine, agent: trust.why_revoked(machine, agent=agent)


def _admin_of(
    security: Security | None, node: LocalNode, machine: Machine, nursery: trio.Nursery, host: str
) -> Administration | None:
    """Return what does the work of an admin of this machine, or None in an open mesh."""
    if security is None:
        return None
    return Administration(security.trust, machine.records, nursery, host, lambda: node.addresses[0].host)


def _tracing_of(config: NodeConfig, own_id: str) -> Tracing:
    """Return the tracing of a node. Raises :class:`~meshp2p.errors.ConfigError` if OpenTelemetry is not installed."""
    if not config.tracing:
        return Tracing()
    try:
        from meshp2p.node.opentelemetry import RecordedTracing  # noqa: PLC0415  # it is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(f"tracing = True: {error}: pip install meshp2p[otel]") from None
    return RecordedTracing(own_id)


def _access_of(security: Security | None, config: NodeConfig, platform: Platform) -> Access | None:
    """Return the rules for callers of the HTTP API, or None in an open mesh. Raises :class:`StartError`."""
    if security is not None:
        return Access(security.callers, platform.wall_ms, requires_token=config.require_token)
    if config.require_token:
        raise StartError(f"require_token = True: mesh {config.mesh!r} is open, and has no tokens")
    return None


def _show_names(security: Security | None, around: Surroundings) -> None:
    """Put the names and addresses at which callers may call this node into its certificate."""
    if security is not None:
        hosts = sorted(around.allowed_hosts)
        names = [host for host in hosts if ":" not in host and not host.replace(".", "").isdigit()]
        advertised = [address.host for address in around.place.addresses]
        security.rename(list(dict.fromkeys((*advertised, *names, *hosts))))


def _pseudonym_of(node_id: str) -> str:
    """Return the name that discovery announces for a node of a secured mesh. It does not announce the id, because
    everyone on the network reads announcements."""
    return f"{tag_of(node_id):016x}"


def _id_behind(machine: Machine, pseudonym: str) -> str | None:
    """Return the id of the known node with this pseudonym; None if there is none."""
    try:
        return machine.id_of(int(pseudonym, 16))
    except ValueError:
        return None


def _conflict_of(lost: IdConflictLost, config: NodeConfig) -> IdConflict:
    if lost.is_owned:
        hours = config.protocol.departed_retention / 3600
        return IdConflict(
            f"id {lost.id!r} belongs to an agent of another machine: choose another id, or stop that agent."
            f" The mesh forgets one that ended without leaving after {hours:g} h"
        )
    if not lost.address:
        return IdConflict(
            f"id {lost.id!r} cannot be used: other nodes hold a claim about it with the greatest incarnation;"
            " choose another"
        )
    return IdConflict(
        f"id {lost.id!r} belongs to another live node, at {lost.address}, which has had it for longer:"
        " choose another id, or stop that node"
    )


async def _shelter(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery that does not hear of its surroundings' cancellation: what runs there can still say farewell."""
    failure: BaseException | None = None
    try:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()
    except BaseExceptionGroup as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]  # the parts have nurseries of their own
    if failure is not None:
        raise failure


async def _serve(
    server: HttpServer,
    listener: Listener,
    served: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the server ends, which it does within its grace time, and say so."""
    try:
        await server.serve(listener, task_status=task_status)
    finally:
        served.set()


async def _keep_peers(node: LocalNode, disk: Disk) -> None:
    """Write down who was met, so that the next start finds them."""
    while True:
        await trio.sleep(_CACHE_INTERVAL)
        met = (member for member in node.members() if member.id != node.id)
        await disk.save_peers(tuple(KnownPeer(m.id, m.addresses[:1]) for m in met if m.addresses))
