"""Faults of the broker, which only wakes workers: without it, or with too much of it, all jobs still run once."""

from __future__ import annotations

from celery import Celery

from app.jobs.dispatch import QUEUE, celery_config
from tests.faults.fault import Fault, Scene, nothing
from tests.faults.servers import Redis
from tests.faults.stack import Form

COPIES = 5


def _server(scene: Scene) -> Redis:
    assert scene.stack.redis is not None
    return scene.stack.redis


def kill(scene: Scene) -> None:
    _server(scene).kill()


def stop(scene: Scene) -> None:
    _server(scene).stop()


def flush(scene: Scene) -> None:
    with _server(scene).client() as client:
        client.flushall()


def fill(scene: Scene) -> None:
    _configure(_server(scene), maxmemory="1", policy="noeviction")


def empty(scene: Scene) -> None:
    _configure(_server(scene), maxmemory="0", policy="noeviction")


def _configure(server: Redis, *, maxmemory: str, policy: str) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", maxmemory)


def restart(scene: Scene) -> None:
    server = _server(scene)
    server.proceed()
    server.start()


def repeat(scene: Scene) -> None:
    """Delivers each message five times, at several moments while jobs start and are stopped."""
    producer = Celery("mcn", set_as_current=False)
    producer.conf.update(celery_config(scene.stack.settings))
    with producer.connection_for_write() as connection:
        for _ in range(3):
            for name in ("start", "monitor"):
                for _ in range(COPIES):
                    producer.send_task(name, queue=QUEUE, connection=connection)
            scene.pause(0.0, 0.5)


def delete_messages(scene: Scene) -> None:
    for file in (scene.stack.settings.data_dir / "broker").glob("*.msg"):
        file.unlink(missing_ok=True)


BROKER_FAULTS: dict[str, Fault] = {
    "redis-killed": Fault("SIGKILL of Redis, which then starts empty", kill, restart, is_quick=True),
    "redis-away": Fault("Redis does not run for seconds", kill, restart, holds_s=(3.0, 8.0)),
    "redis-away-a-minute": Fault("Redis does not run for a minute", kill, restart, holds_s=(60.0, 60.0)),
    "redis-flushed": Fault("all messages are deleted (FLUSHALL)", flush, nothing),
    "redis-stopped": Fault("Redis stands still for seconds", stop, restart, holds_s=(1.0, 8.0), is_quick=True),
    "redis-full": Fault("Redis is out of memory (maxmemory)", fill, empty, holds_s=(1.0, 4.0)),
    "messages-repeated": Fault("every message arrives five times", repeat, nothing, controls=0.4, is_quick=True),
    "messages-repeated-embedded": Fault(
        "every message arrives five times, as files", repeat, nothing, form=Form.embedded, controls=0.4
    ),
    "messages-deleted": Fault(
        "the messages in the data folder are deleted", delete_messages, nothing, form=Form.embedded, controls=0.4
    ),
}
