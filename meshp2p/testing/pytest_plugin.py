"""The pytest fixture ``virtual_mesh``. A test that requests it runs in virtual time.

It is registered by meshp2p's entry point. It works with pytest-trio, whose async fixtures may use it, and without. The
seed is 0, or that of ``--mesh-seed`` or ``@pytest.mark.virtual_mesh(seed=7)``. The mark takes all options of
:class:`~meshp2p.testing.VirtualMesh`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    import trio

    from meshp2p.testing.mesh import VirtualMesh

_T = TypeVar("_T")
_NAME = "virtual_mesh"
_MESH = pytest.StashKey["VirtualMesh"]()
_STORY_LINES = 40  # of the story that a failed test shows: chosen, not measured


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("meshp2p")
    group.addoption("--mesh-seed", type=int, default=0, help="seed of the tests that use virtual_mesh (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_mesh(seed=0, **options): options of the fixture virtual_mesh")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pytest-trio, if installed, run these tests as we do."""
    for item in items:
        if not (isinstance(item, pytest.Function) and _uses_mesh(item) and _has_trio_plugin(item.config)):
            continue

        def run(
            main: Callable[[], Awaitable[_T]],
            *,
            clock: trio.abc.Clock | None = None,
            instruments: Sequence[trio.abc.Instrument] = (),
            item: pytest.Function = item,
        ) -> _T:
            __tracebackhide__ = True
            return _run(item, main, clock, instruments)

        item.add_marker(pytest.mark.trio(run=run), append=False)


@pytest.fixture
def virtual_mesh(request: pytest.FixtureRequest) -> VirtualMesh:
    """An open :class:`~meshp2p.testing.VirtualMesh` for the duration of the test."""
    from meshp2p.testing.mesh import VirtualMesh  # noqa: PLC0415  # pytest must not import all of it for nothing

    options: dict[str, Any] = {"seed": request.config.getoption("--mesh-seed")}
    for mark in reversed(list(request.node.iter_markers(_NAME))):
        options |= mark.kwargs
    request.node.stash[_MESH] = mesh = VirtualMesh(**options)
    return mesh


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test ourselves if pytest-trio does not."""
    if not _uses_mesh(pyfuncitem) or _has_trio_plugin(pyfuncitem.config):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def main() -> None:
        await pyfuncitem.obj(**arguments)

    _run(pyfuncitem, main, None, ())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the story and the seed of a failed test."""
    report = yield
    mesh = item.stash.get(_MESH, None)
    if report.failed and mesh is not None and mesh.has_begun:
        report.sections.append(("virtual mesh", f"{mesh!r}\n{mesh.story(last=_STORY_LINES)}"))
    return report


def _uses_mesh(item: pytest.Function) -> bool:
    return _NAME in item.fixturenames and iscoroutinefunction(item.obj)


def _has_trio_plugin(config: pytest.Config) -> bool:
    return any(config.pluginmanager.hasplugin(name) for name in ("trio", "pytest_trio.plugin"))


def _run(
    item: pytest.Function,
    main: Callable[[], Awaitable[_T]],
    clock: trio.abc.Clock | None,
    instruments: Sequence[trio.abc.Instrument],
) -> _T:
    __tracebackhide__ = True
    from meshp2p.testing.running import run_on_virtual_time  # noqa: PLC0415  # as above

    mesh = item.stash[_MESH]

    async def main_on_mesh() -> _T:
        __tracebackhide__ = True
        async with mesh:
            try:
                return await main()
            except BaseExceptionGroup as group:
                failure = _innermost(group)
            raise failure  # pytest-trio wraps it; bare it shows what the assertion compared

    return run_on_virtual_time(main_on_mesh, seed=mesh.seed, clock=clock, instruments=instruments)


def _innermost(error: BaseException) -> BaseException:
    """Return the single failure inside nested groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
