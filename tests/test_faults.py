"""What brokers and networks do to a link, each with a real Mosquitto; none loses a young event, or leaves it deaf."""

from __future__ import annotations

import json
import queue
import socket
import time
from pathlib import Path

import pytest

from daemon.config import ConfigError, TlsConfig
from daemon.credentials import CREDENTIALS, client_name, login
from daemon.link import UNSENT, Link, Message
from daemon.status import Status
from daemon.tls import context as tls_context
from tests.certificates import Authority
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.proxy import Proxy
from tests.test_link import EVENT, link_to, logged, received, running

RECOVERY_S = 60
DYNAMIC_SECURITY = "/usr/lib/*/mosquitto_dynamic_security.so"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links try again after a tenth of the usual pauses."""
    monkeypatch.setattr("daemon.link.PAUSE_S", (0.1, 6.0))


def connected(link: Link, subscriber: Subscriber) -> None:
    link.state("test/here", b"here")
    subscriber.until(b"here", RECOVERY_S)


def test_42_43_a_network_that_goes_silent_is_left_and_no_young_event_is_lost(broker: Mosquitto) -> None:
    with Proxy(broker.port) as proxy, Subscriber(broker.port, "#") as hub, logged() as lines:
        link = link_to(proxy.port, max_event_age_s=60.0, keepalive_s=1)
        with running(link):
            connected(link, hub)
            proxy.hold()
            link.event(EVENT, b"young")
            while "lost the broker" not in lines.get(timeout=RECOVERY_S):
                pass
            proxy.cut()
            assert hub.on(EVENT, RECOVERY_S).payload == b"young"


def test_42_an_event_that_became_stale_meanwhile_is_not_sent_late(broker: Mosquitto) -> None:
    with Proxy(broker.port) as proxy, Subscriber(broker.port, "#") as hub, logged() as lines:
        link = link_to(proxy.port, max_event_age_s=0.5, keepalive_s=60)
        with running(link):
            connected(link, hub)
            proxy.cut()
            while "lost the broker" not in lines.get(timeout=RECOVERY_S):
                pass
            link.event(EVENT, b"stale")  # it tries again after a second at least
            link.state("test/back", b"back")
            hub.until(b"back", RECOVERY_S)
        hub.drain()
        assert EVENT not in [message.topic for message in hub.seen]


@pytest.mark.parametrize("version", ["3.1.1", 5])
def test_65_a_broker_that_freezes_and_thaws_has_it_all(broker: Mosquitto, version: str | int) -> None:
    with Subscriber(broker.port, "#") as hub, running(link_to(broker.port, version=version)) as link:
        connected(link, hub)
        broker.freeze()
        link.event(EVENT, b"while frozen")
        broker.thaw()
        assert hub.on(EVENT, RECOVERY_S).payload == b"while frozen"


def test_a_broker_that_is_killed_with_an_event_in_its_hands_gets_it_again(broker: Mosquitto) -> None:
    with running(link_to(broker.port, max_event_age_s=60.0)) as link:
        with Subscriber(broker.port, "#") as hub:
            connected(link, hub)
            broker.freeze()
            link.event(EVENT, b"{}")
            with pytest.raises(queue.Empty):
                hub.next(0.1)
        broker.restart()
        with Subscriber(broker.port, "#") as hub:
            assert hub.on(EVENT, RECOVERY_S).payload == b"{}"


def test_64_a_slow_broker_costs_what_streams_and_no_memory(broker: Mosquitto) -> None:
    with Subscriber(broker.port, "test/#") as hub, running(link_to(broker.port)) as link:
        connected(link, hub)
        broker.freeze()
        sent = refused = 0
        while refused < UNSENT:  # of which the first may come while the network still takes some
            taken = link.stream("test/frame", bytes(64 * 1024))
            sent, refused = sent + taken, refused + (not taken)
            assert sent < 100 * UNSENT
        assert link.dropped == {"the broker is slow or away": refused}
        broker.thaw()
        for _ in range(sent):
            hub.on("test/frame", RECOVERY_S)
        while not link.stream("test/frame", b"again"):
            pass
        hub.until(b"again", RECOVERY_S)


def test_63_brokers_are_tried_in_order_and_their_names_looked_up_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    second, looked_up = Mosquitto(tmp_path), []
    look_up = socket.getaddrinfo

    def noted(host: str, *more: object, **options: object) -> list:
        looked_up.append(host)
        return look_up("127.0.0.1" if host == "hub.invalid" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    fallback = ("hub.invalid:" + str(second.port),)
    with logged() as lines, running(link_to(free_port(), fallback=fallback)) as link:
        assert "no broker" in lines.get(timeout=RECOVERY_S)
        while looked_up.count("hub.invalid") < 2:
            time.sleep(0.05)
        with second, Subscriber(second.port, "#") as hub:
            connected(link, hub)
    assert looked_up[:2] == ["127.0.0.1", "hub.invalid"]


def test_46_a_loop_of_takeovers_is_said(broker: Mosquitto, hasty: None) -> None:
    with logged() as lines, running(link_to(broker.port, "twin")), running(link_to(broker.port, "twin", version=5)):
        deadline = time.monotonic() + RECOVERY_S
        while "is another client called 'twin'" not in (line := lines.get(timeout=RECOVERY_S)):
            assert time.monotonic() < deadline
    assert "mqtt.client_id" in line


def test_46_the_name_at_the_broker_is_the_same_at_every_start() -> None:
    assert client_name("kitchen") == client_name("kitchen") != client_name("hall")
    assert client_name("kitchen").startswith("wakepulse-kitchen-")


def test_58_another_satellite_of_the_same_site_is_noticed(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    first, second = link_to(broker.port, "first"), link_to(broker.port, "second")
    states = [Status("kitchen", link) for link in (first, second)]
    with Subscriber(broker.port, "#") as hub, running(first), running(second):
        for link in (first, second):
            connected(link, hub)
        deadline = time.monotonic() + RECOVERY_S
        for number in range(10**6):
            states[1].set(number=number // 100)
            first.dispatch()
            if "another satellite, second, has this site too" in caplog.text:
                break
            assert time.monotonic() < deadline


def test_67_a_clock_that_is_set_changes_nothing(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    with Subscriber(broker.port, "#") as hub:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        with running(link_to(broker.port)) as link:
            link.event(EVENT, b"1970")
            assert hub.on(EVENT).payload == b"1970"
            monkeypatch.setattr(time, "time", lambda: 2e9)
            link.event(EVENT, b"2033")
            assert hub.on(EVENT).payload == b"2033"


def test_45_an_event_that_may_not_be_published_is_said(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\ntopic readwrite test/#\n")
    with Mosquitto(tmp_path, more=[f"acl_file {tmp_path / 'acl'}"]) as broker, logged() as lines:
        link = link_to(broker.port, version=5)
        with running(link):
            link.event(EVENT, b"{}")
            while "does not let this satellite publish" not in lines.get(timeout=RECOVERY_S):
                pass


def test_45_a_subscription_that_is_refused_is_named(tmp_path: Path) -> None:
    (plugin,) = Path("/").glob(DYNAMIC_SECURITY.lstrip("/"))
    denied = {"acltype": "subscribePattern", "topic": "test/secret", "priority": 1, "allow": False}
    role = {"rolename": "satellite", "acls": [denied]}
    allowed = {"publishClientSend": True, "publishClientReceive": True, "subscribe": True, "unsubscribe": True}
    rules = {
        "defaultACLAccess": allowed,
        "roles": [role],
        "groups": [{"groupname": "all", "roles": [{"rolename": "satellite"}]}],
        "anonymousGroup": "all",
        "clients": [],
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    more = [f"plugin {plugin}", f"plugin_opt_config_file {tmp_path / 'rules.json'}"]
    messages: list[Message] = []
    with Mosquitto(tmp_path, more=more) as broker, logged() as lines:
        link = link_to(broker.port)
        for topic in ("test/open", "test/secret"):
            link.handle(topic, messages.append)
        with running(link):
            while "refuses the subscription to test/secret" not in lines.get(timeout=RECOVERY_S):
                pass
            with Subscriber(broker.port, "test/here") as hub:
                connected(link, hub)
                hub.publish("test/open", b"still")
                received(link, messages, 1)


def test_44_user_and_password_come_from_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mqtt_username").write_text("satellite\n")
    (tmp_path / "mqtt_password").write_text("right\n")
    monkeypatch.setenv(CREDENTIALS, str(tmp_path))
    with Mosquitto(tmp_path, password=("satellite", "right")) as broker, running(link_to(broker.port)) as link:
        assert login(link._config) == ("satellite", "right")
        deadline = time.monotonic() + RECOVERY_S
        while not link.stream("test/here", b""):
            assert time.monotonic() < deadline


class Secured:
    """A broker with TLS that asks for the satellite's certificate too."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], authority: Authority) -> None:
        more = [f"certfile {certificate[0]}", f"keyfile {certificate[1]}", f"cafile {authority.certificate}"]
        self.broker = Mosquitto(folder, more=[*more, "require_certificate true", "use_identity_as_username true"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def satellite(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("satellite")


def tls(authority: Authority, satellite: tuple[Path, Path] | None, name: str | None = "hub") -> TlsConfig:
    certificate, key = satellite or (None, None)
    return TlsConfig(True, authority.certificate, certificate, key, name)


@pytest.mark.parametrize("version", ["3.1.1", 5])
def test_tls_with_certificates_on_both_sides(
    tmp_path: Path, authority: Authority, satellite: tuple[Path, Path], version: str | int
) -> None:
    hub = authority.sign(f"hub{version}")
    secured = Secured(tmp_path, hub, authority)
    messages: list[Message] = []
    config = tls(authority, satellite, f"hub{version}")
    with secured.broker:
        link = link_to(secured.broker.port, version=version, tls=config)
        link.handle(EVENT, messages.append)
        with running(link):
            link.event(EVENT, b"secret")
            received(link, messages, 1)


# paho leaves the socket of a failed handshake to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_50_a_broker_that_cannot_be_trusted_is_not_and_the_reason_is_said(
    tmp_path: Path, authority: Authority, satellite: tuple[Path, Path]
) -> None:
    other = Authority(tmp_path, "other")
    good = tls(authority, satellite)
    for certificate, config, reason in (
        (authority.sign("hub", begins="200101000000Z", ends="210101000000Z"), good, "has expired; is the clock"),
        (authority.sign("hub", begins="480101000000Z", ends="490101000000Z"), good, "not yet valid; is the clock"),
        (authority.sign("stranger"), good, "doesn't match|not valid for|mismatch"),
        (authority.sign("hub"), tls(other, satellite), "not trusted"),
        (
            authority.sign("hub", begins="240101000000Z", ends="480101000000Z"),
            tls(authority, None),
            "no TLS|lost|no MQTT",
        ),
    ):
        with Secured(tmp_path, certificate, authority).broker as broker, logged() as lines:
            link = link_to(broker.port, tls=config)
            with running(link):
                line = lines.get(timeout=RECOVERY_S)
                assert any(one in line for one in reason.split("|")), line
                assert not link.stream("test", b"")


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "nonsense").write_text("nonsense")
    for config in (
        TlsConfig(True, tmp_path / "none"),
        TlsConfig(True, tmp_path / "nonsense"),
        TlsConfig(True, authority.certificate, tmp_path / "nonsense"),
    ):
        with pytest.raises(ConfigError, match=r"(none|nonsense): cannot be used for TLS: "):
            tls_context(config)
