from __future__ import annotations

import gc
import socket
import threading
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist

from tests.distributed.conftest import StartTorchrun
from trackside.distributed import abandoned
from trackside.distributed.links import Connections


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    return client, accepted


def test_cutting_ends_the_wait_of_both_sides() -> None:
    connections = Connections()
    with connections.recorded():
        client, accepted = pair()
    connections.sever()
    with client, accepted:
        assert (client.recv(1), accepted.recv(1)) == (b"", b"")
    assert connections.cut


def test_connections_made_outside_are_left_alone() -> None:
    connections = Connections()
    before = pair()
    with connections.recorded():
        pass
    after = pair()
    connections.sever()
    for client, accepted in (before, after):
        with client, accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_a_file_that_took_the_number_of_a_closed_connection_is_left_alone() -> None:
    connections = Connections()
    with connections.recorded():
        client, accepted = pair()
    numbers = {client.fileno(), accepted.fileno()}
    client.close()
    accepted.close()
    client, accepted = pair()
    if not {client.fileno(), accepted.fileno()} & numbers:
        pytest.skip("the system gave other numbers")
    connections.sever()
    with client, accepted:
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"


def test_a_listener_stays_open() -> None:
    connections = Connections()
    with connections.recorded():
        server = socket.create_server(("127.0.0.1", 0))
    connections.sever()
    with server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


class Group:
    """Ends when it may, as a group whose thread is still at work."""

    def __init__(self) -> None:
        self.may_end, self.ended = threading.Event(), threading.Event()

    def __del__(self) -> None:
        self.may_end.wait()
        self.ended.set()


def test_what_a_failure_leaves_is_freed_beside_a_program_that_goes_on() -> None:
    group: Any = Group()
    may_end, ended = group.may_end, group.ended
    Connections().abandon([group])
    del group
    gc.collect()

    abandoned.free_beside()  # returns though the destructor waits
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(30)


def test_a_group_that_hangs_in_a_cycle_is_freed_beside_as_well() -> None:
    group: Any = Group()
    may_end, ended = group.may_end, group.ended
    failed: list[Any] = [group]
    failed.append(failed)
    Connections().abandon([group])
    del group, failed

    abandoned.free_beside()
    gc.collect()  # whoever collects the cycle does not wait
    may_end.set()
    assert ended.wait(30)


def test_a_group_that_something_holds_stays() -> None:
    group: Any = Group()
    may_end, ended = group.may_end, group.ended
    Connections().abandon([group])

    abandoned.free_beside()
    abandoned.wait(30)
    del group
    gc.collect()  # whoever held it does not wait
    may_end.set()
    assert not ended.is_set()


class Work:
    """A collective that is over, or fails when it is waited for."""

    def __init__(self, error: str = "") -> None:
        self.error = error

    def is_completed(self) -> bool:
        return True

    def wait(self, timeout: object = None) -> None:
        if self.error:
            raise RuntimeError(self.error)


def test_tensors_of_a_collective_that_failed_are_kept_for_gloo() -> None:
    connections, done, failed = Connections(), torch.ones(1), torch.ones(1)
    group: Any = object()
    connections.wait_for(cast("dist.Work", Work()), group, done)
    assert connections.under_way == set()
    with pytest.raises(RuntimeError, match="closed by peer"):
        connections.wait_for(cast("dist.Work", Work("closed by peer")), group, failed)
    assert connections.under_way == {failed}


@pytest.mark.distributed
@pytest.mark.timeout(150)
def test_neither_a_thread_nor_the_end_of_a_process_waits_for_ever_for_a_collective(
    torchrun: StartTorchrun,
) -> None:
    run = torchrun("severed.py")
    assert (run.exit_code, run.hung) == (0, False), run
    assert run.claimed("ended") == [60, 60]
