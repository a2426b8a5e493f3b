"""Parts so small that one test or two say all there is to say of them."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.config import RANGES, ProtocolConfig
from meshp2p.core.directory.local_health import LocalHealth
from meshp2p.core.mail.uuid7 import is_uuid7, uuid7
from meshp2p.errors import ConfigError


@given(st.lists(st.integers(-3, 3)))
def test_local_health_stays_within_its_bounds_and_stretches_time_by_its_score(deltas: list[int]) -> None:
    health = LocalHealth(8)
    for delta in deltas:
        before = health.score
        health.change(delta)
        assert health.score == min(8, max(0, before + delta))
        assert health.scale(0.5) == 0.5 * (health.score + 1)


@given(st.integers(0, (1 << 48) - 2), st.integers(0, (1 << 74) - 1), st.integers(0, (1 << 74) - 1))
def test_ids_that_were_made_later_are_greater(unix_ms: int, bits: int, other_bits: int) -> None:
    assert uuid7(unix_ms, bits) < uuid7(unix_ms + 1, other_bits)
    assert is_uuid7(uuid7(unix_ms, bits))


def test_an_id_is_a_uuid_of_version_7() -> None:
    # the example of RFC 9562, appendix A.6
    rand_a, rand_b = 0xCC3, 0x18C4DC0C0C07398F
    assert uuid7(0x017F22E279B0, rand_a << 62 | rand_b) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_range_is_refused_with_its_name_and_what_is_allowed(name: str) -> None:
    low, high = RANGES[name]
    for value in (low - 1, high + 1, math.nan, "1"):
        with pytest.raises(ConfigError, match=f"^{name} = "):
            ProtocolConfig(**{name: value})  # type: ignore[arg-type]  # one of the values is a string, on purpose


def test_every_number_has_a_range() -> None:
    assert list(RANGES) == list(ProtocolConfig.__struct_fields__)


def test_a_direct_ping_must_leave_time_for_the_indirect_ones() -> None:
    with pytest.raises(ConfigError, match="probe_timeout"):
        ProtocolConfig(probe_timeout=1.0, probe_interval=1.0)
    with pytest.raises(ConfigError, match="probe_timeout"):
        ProtocolConfig(probe_timeout=0.1, probe_timeout_min=0.2)


def test_the_largest_record_must_fit_into_one_sync() -> None:
    with pytest.raises(ConfigError, match="sync_bytes_max"):
        ProtocolConfig(sync_bytes_max=64 * 1024, record_bytes_max=64 * 1024)


@pytest.mark.parametrize(
    ("nodes", "retransmits", "suspicion"), [(1, 5, 4.0), (10, 8, 4.0), (64, 10, 7.2), (100, 10, 8.0), (1000, 12, 12.0)]
)
def test_rumours_and_suspicions_last_with_the_logarithm_of_the_mesh(
    nodes: int, retransmits: int, suspicion: float
) -> None:
    config = ProtocolConfig()
    assert config.retransmits(nodes) == retransmits
    assert config.suspicion_timeout(nodes) == pytest.approx(suspicion, abs=0.05)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ProtocolConfig().quorum = 3  # type: ignore[misc]  # that is what is tested
    assert msgspec.structs.replace(ProtocolConfig(), quorum=3).quorum == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("quorum", 1.5), ("quorum", True), ("indirect_probes", 10**400), ("probe_interval", float("nan"))],
)
def test_a_protocol_number_of_the_wrong_kind_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ProtocolConfig(**{name: value})  # type: ignore[arg-type]
