"""The link to the broker, which heals itself while the satellite goes on listening. No caller ever waits for it.

Three kinds of messages go out. An event is kept until the broker has it, and dropped once it is stale. A state is
retained, and said anew on every connect. What streams is sent now or never. All three may be published from any thread;
the link's own thread sends them. What comes in is checked for size there, and handled in the thread that calls
`dispatch`, so that handlers need no locks. The link knows topics and bytes, and nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from daemon import tls
from daemon.config import MqttConfig
from daemon.connection import CONNECT_S, CONTROL_BYTES, Connection, unreachable
from daemon.credentials import login
from daemon.outbox import Event, Outbox

log = logging.getLogger(__name__)

INBOX, INBOX_BYTES = 256, 16 * 1024 * 1024  # messages that wait for `dispatch`, and their bytes
UNSENT = 256  # messages that a slow broker may leave with us before what streams is dropped
PAUSE_S = (1.0, 60.0)  # first and longest, between rounds through the brokers
STEADY_S = 10.0  # a connection that held for so long was a good one
TAKEOVERS = 3  # connections in a row that were not: another client has our name
LOOP_S = 1.0
REASONS, REASON_LENGTH = 100, 200  # for dropping, that are told apart; characters


class LinkError(RuntimeError):
    """The link to the broker cannot heal itself any more."""


@dataclass(frozen=True)
class Message:
    """What came in."""

    topic: str
    payload: bytes
    retained: bool = False


Handler = Callable[[Message], None]


@dataclass(frozen=True)
class _Subscription:
    handler: Handler
    most: int  # bytes
    retained: bool


class Link:
    """The satellite's link to the first of its brokers that takes it."""

    def __init__(
        self, config: MqttConfig, *, name: str, will: Message, notify: Callable[[], object] = lambda: None
    ) -> None:
        """`name` for the broker; `will` is retained once the link is gone; `notify` is called when something came in.

        `ConfigError` if a password or certificate cannot be read.
        """
        self._config = config
        self.name = config.client_id or name
        self._will = will
        self._notify = notify
        self._login = login(config)
        self._tls = tls.context(config.tls) if config.tls.enabled else None
        self._lock = threading.Lock()
        self._client: Connection | None = None  # that is connected
        self._outbox = Outbox(config.max_event_age_s)
        self._states: dict[str, bytes] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._greetings: list[Callable[[], None]] = []
        self._inbox: deque[tuple[Handler, Message]] = deque()
        self._inbox_bytes = 0
        self._settled = threading.Event()  # no event waits
        self._settled.set()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._said: set[str] = set()  # complaints since the last connection
        self._short = 0  # connections in a row that did not hold
        self._pause_s = PAUSE_S[0]
        self.dropped: dict[str, int] = {}  # messages that were refused or came too fast, by reason
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def handle(self, topic: str, handler: Handler, *, most: int = CONTROL_BYTES, retained: bool = False) -> None:
        """Let `dispatch` call `handler` for what comes on a topic, `+` allowed; to be said before `start`.

        What is larger than `most` bytes is dropped, and what is `retained` too unless it is asked for: a command that
        somebody retained would be obeyed anew after every connect.
        """
        assert topic not in self._subscriptions, topic
        self._subscriptions[topic] = _Subscription(handler, most, retained)

    def greet(self, act: Callable[[], None]) -> None:
        """Let `dispatch` call `act` after every connect; to be said before `start`."""
        self._greetings.append(act)

    def start(self) -> None:
        """Connect in the background, now and whenever the link is lost."""
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a broker is there to hear what streams."""
        return self._client is not None

    def check(self) -> None:
        """`LinkError` if the link's thread has died, so that the service manager can start everything anew."""
        if self._ended.is_set() and not self._stopping.is_set():
            raise LinkError("the MQTT client has died; see the lines before this one")

    def stop(self, timeout_s: float = 1.5) -> None:
        """Send the events that wait and the will, and disconnect, all within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        if not self._settled.wait(timeout_s * 2 / 3):
            log.warning("no broker: dropped what was waiting for it")
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            last = client.publish(self._will.topic, self._will.payload, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the link was lost just now: the will speaks instead
                last.wait_for_publish(max(0.1, deadline - time.monotonic()))
        self._stopping.set()
        if client is not None:  # or the thread may hang in a look-up of a name, and ends with the process
            client.disconnect()
            self._thread.join(max(0.1, deadline - time.monotonic()))

    def event(self, topic: str, payload: bytes) -> None:
        """Send a message at least once while it is young: now, or soon after the link is back, or never."""
        now = time.monotonic()
        with self._lock:
            event = self._outbox.put(topic, payload, now)
            self._settled.clear()
            if self._client is not None:
                self._leave(self._client, event)

    def state(self, topic: str, payload: bytes) -> None:
        """What is so from now on: retained, said now if it is new, and on every connect."""
        with self._lock:
            changed = self._states.get(topic) != payload
            self._states[topic] = payload
            if changed and self._client is not None:
                self._client.leave(topic, payload, retain=True)

    def stream(self, topic: str, payload: bytes) -> bool:
        """Send a message now or never; False if it is never."""
        with self._lock:
            client = self._client
            if client is None or client.left - client.gone >= UNSENT:
                self._drop("the broker is slow or away")
                return False
            return client.leave(topic, payload) is not None

    def republish(self) -> None:
        """Say all states again."""
        with self._lock:
            if self._client is not None:
                for topic, payload in self._states.items():
                    self._client.leave(topic, payload, retain=True)

    def dispatch(self) -> None:
        """Handle what has come in, in the thread that calls."""
        for _ in range(len(self._inbox)):
            with self._lock:
                handler, message = self._inbox.popleft()
                self._inbox_bytes -= len(message.payload)
            handler(message)

    # From here on in the link's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                held = any(self._serve(host, port) for host, port in self._config.brokers())
                self._pause_s = PAUSE_S[0] if held else min(2 * self._pause_s, PAUSE_S[1])
                self._stopping.wait(min(PAUSE_S[1], self._pause_s * random.uniform(1, 1.5)))
        finally:
            self._ended.set()

    def _serve(self, host: str, port: int) -> bool:
        """One connection from its beginning to its end; whether it was a good one."""
        if self._stopping.is_set():
            return True
        client = self._new_client(f"{host}:{port}")
        try:
            client.open(host, port)
            while self._goes_on(client) and client.loop(LOOP_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._tidy(client)
        except OSError as error:
            self._complain(unreachable(client.address, error))
            return False
        finally:
            with self._lock:
                self._client = None
            if (left := client.socket()) is not None:
                left.close()
        return self._lost(client)

    def _goes_on(self, client: Connection) -> bool:
        """Whether the connection is there, or may yet be."""
        if client.taken_at is None and (self._stopping.is_set() or time.monotonic() - client.begun > 2 * CONNECT_S):
            return False
        return client.socket() is not None

    def _new_client(self, address: str) -> Connection:
        client = Connection(self.name, self._config, address)
        client.username_pw_set(*self._login)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(self._will.topic, self._will.payload, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, _: object) -> None:
        assert isinstance(client, Connection)
        if code.is_failure:
            what = f"the broker at {client.address} refuses this satellite: {code}"
            self._complain(f"{what}; check mqtt.username and its password; trying again")
            return
        log.info("connected to the broker at %s", client.address)
        client.taken_at = time.monotonic()
        self._said.clear()
        if self._subscriptions:
            client.subscribe([(topic, 0) for topic in self._subscriptions])
        with self._lock:
            if self._stopping.is_set():
                return
            self._client = client
            for topic, payload in self._states.items():
                client.leave(topic, payload, retain=True)
            for event in self._outbox.fresh(client.taken_at):
                self._leave(client, event)
            for act in self._greetings:
                self._inbox.append((partial(_greet, act), Message("", b"")))
        self._notify()

    def _leave(self, client: Connection, event: Event) -> None:
        event.number = client.leave(event.topic, event.payload, qos=1, expires=True)

    def _on_subscribe(
        self, client: paho.Client, userdata: object, number: int, codes: list[ReasonCode], _: object
    ) -> None:
        assert isinstance(client, Connection)
        if len(codes) != len(self._subscriptions):
            wrong = f"confirms {len(codes)} subscriptions, not {len(self._subscriptions)}"
            self._complain(f"what answers at {client.address} {wrong}: is it an MQTT broker?")
            return
        for topic, code in zip(self._subscriptions, codes, strict=True):
            if code.is_failure:
                self._complain(f"the broker refuses the subscription to {topic}: {code}; check its access rules")

    def _on_publish(self, client: paho.Client, userdata: object, number: int, code: ReasonCode, _: object) -> None:
        assert isinstance(client, Connection)
        client.gone += 1  # paho calls this with locks of its own held, so nothing here may take one
        client.acknowledged.append(number)
        if code.is_failure:
            self._complain(f"the broker does not let this satellite publish: {code}; check its access rules")

    def _tidy(self, client: Connection) -> None:
        """Forget the events that the broker has, and those that are stale."""
        with self._lock:
            while client.acknowledged:
                self._outbox.acknowledge(client.acknowledged.popleft())
            self._outbox.fresh(time.monotonic())
            if not self._outbox:
                self._settled.set()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        assert isinstance(client, Connection)
        too_large, client.too_large = client.too_large, False
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        subscription = self._subscriptions.get(topic) or next(
            (one for pattern, one in self._subscriptions.items() if paho.topic_matches_sub(pattern, topic)), None
        )
        if subscription is None:
            return
        size = len(message.payload)
        with self._lock:
            if too_large or size > subscription.most:
                self._drop(f"too large, on {topic}")
            elif message.retain and not subscription.retained:
                self._drop(f"retained, on {topic}")
            elif len(self._inbox) >= INBOX or self._inbox_bytes + size > INBOX_BYTES:
                self._drop("more came in than can be handled")
            else:
                self._inbox.append((subscription.handler, Message(topic, bytes(message.payload), message.retain)))
                self._inbox_bytes += size
        self._notify()

    def _drop(self, why: str) -> None:
        """Count what is dropped, and say it the first time. The caller holds the lock."""
        why = why[:REASON_LENGTH]
        if why not in self.dropped and len(self.dropped) < REASONS:
            log.warning("dropped a message: %s", why)
        elif why not in self.dropped:
            why = "others"
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def _lost(self, client: Connection) -> bool:
        """The connection has ended; whether it was a good one."""
        self._tidy(client)
        if self._stopping.is_set():
            return True
        if client.taken_at is None:
            if not self._said:
                self._complain(
                    f"what answers at {client.address} is no MQTT broker that takes this satellite; trying again"
                )
            return False
        held = time.monotonic() - client.taken_at >= STEADY_S
        self._short = 0 if held else self._short + 1
        if self._short >= TAKEOVERS:
            what = f"the broker at {client.address} drops this satellite again and again"
            self._complain(f"{what}: is another client called {self.name!r}? Set mqtt.client_id on one of the two")
        else:
            self._complain(f"lost the broker at {client.address}; listening meanwhile, and trying again")
        return held

    def _complain(self, text: str) -> None:
        """Say what is wrong with the link, once until it is right."""
        if text not in self._said:
            log.warning(text)
            self._said.add(text)


def _greet(act: Callable[[], None], _: Message) -> None:
    act()
