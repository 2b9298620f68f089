"""Clients that behave badly, and what the others have of the server meanwhile."""

import contextlib
import itertools
import json
import resource
import selectors
import socket
import time

from .program import run
from .served import QUESTION, Crowd, serving

# What `recs serve` has: ServerConfig's idle_seconds and ServeConfig's time_limit_ms.
IDLE_S, ANSWER_S = 75, 10
# ServeConfig's max_unsent_bytes_of_tenant, and what else a server may have grown by meanwhile.
UNSENT_MIB, BESIDE_MIB = 128, 64
# A busy machine looks a little later.
LATE_S = 15
POST = "POST {} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"


def idle(server, count):
    """Connections that send nothing, or half of a head, of either version of HTTP."""
    halves = {"silent": b"", "with half a head": POST.format("/recommend").encode()[:40], "with half a preface": b"PRI * HTTP"}
    crowd, files, memory, begin = Crowd(), server.files(), server.anonymous_mib(), time.monotonic()
    for number, (kind, half) in zip(range(count), itertools.cycle(halves.items())):
        try:
            stream = server.connect(number)
        except OSError as error:
            server.fails(f"connection {number} was not taken: {error}")
        crowd.add(stream, kind)
        crowd.send(stream, half)
        if number % 100 == 0:
            crowd.look()
            server.ask()
    opened_s = time.monotonic() - begin
    server.ask_for(5, lambda: server.files() >= files + count)
    accepted, held = server.files() - files, server.anonymous_mib() - memory
    if accepted < count:
        server.fails(f"{accepted} of {count} connections were accepted")
    server.ask_for(IDLE_S + LATE_S, crowd.look)
    print(
        f"connections: {server.doing}: {accepted} opened in {opened_s:.1f} s and held with {held:.0f} MiB; {server.asked()}; "
        f"the server closed {crowd.told()}"
    )
    if crowd.open:
        server.fails(f"{len(crowd.open)} of {count} are open {IDLE_S + LATE_S} s later: the server closes them after {IDLE_S} s")


def giants():
    """What is too large, in pieces: names, heads, and what follows for as long as the server takes it."""
    post, block = POST.format("/recommend").encode(), b" " * (1 << 16)
    chunked, many = post + b"Transfer-Encoding: chunked\r\n\r\n", b"X-Many: x\r\n" * 1000
    yield "a body of 10 GiB", itertools.chain([post + b"Content-Length: %d\r\n\r\n" % (10 << 30)], itertools.repeat(block))
    chunk = b"%x\r\n%b\r\n" % (len(block), block)
    yield "chunks without end", itertools.chain([chunked], itertools.repeat(chunk))
    yield "chunks of a byte", itertools.chain([chunked], itertools.repeat(b"1\r\n \r\n" * 10_000))
    yield "an extension of a chunk without end", itertools.chain([chunked + b"1;"], itertools.repeat(block))
    yield "trailers without end", itertools.chain([chunked + b"0\r\n"], itertools.repeat(many))
    yield "a head of 10 MB", itertools.chain([post + b"X-Large: "], [b"x" * 10_000] * 1000, [b"\r\n\r\n"])
    yield "a path of 10 MB", itertools.chain([b"POST /"], [b"x" * 10_000] * 1000, [b" HTTP/1.1\r\nHost: soak\r\n\r\n"])
    yield "100,000 headers", itertools.chain([post], [many] * 100, [b"\r\n"])
    yield "10,000 headers that fit", [post + b"x:\r\n" * 10_000 + b"\r\n"]


def has_come(stream):
    """An answer, or an end."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(0))


def refused(server, pieces, name):
    """Sends until the server answers or closes; gives its status (0 without an answer), the bytes sent, and the most memory."""
    stream, sent, most, answer = server.connect(), 0, 0, b""
    with stream:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                stream.sendall(piece)
                sent, most = sent + len(piece), max(most, server.anonymous_mib())
                if has_come(stream):
                    break
                if sent > 1 << 30:
                    server.fails(f"{name}: the server takes {sent} bytes, and does not answer")
        # Also after a write that failed: what the server said may have come before.
        with contextlib.suppress(ConnectionError):
            while part := stream.recv(1 << 16):
                answer += part
    return int(answer[9:12] or 0), sent, max(most, server.anonymous_mib())


def large_requests(server, rounds):
    """Several times each: what is refused must not add up either."""
    start, grew, told = server.anonymous_mib(), {}, {}
    for name, pieces in itertools.chain.from_iterable(giants() for _ in range(rounds)):
        before = server.anonymous_mib()
        try:
            status, sent, most = refused(server, pieces, name)
        except TimeoutError:
            server.fails(f"{name}: neither an answer nor an end within 30 s")
        if status and not 400 <= status < 500:
            server.fails(f"{name}: answered {status}")
        grew[name] = max(grew.get(name, 0), most - before)
        told[name] = f"{name}: {status or 'closed'} after {sent / 1024:.0f} KiB, +{grew[name]:.1f} MiB"
        server.ask()
    grew["all of them"] = server.anonymous_mib() - start
    print(f"connections: {server.doing}: {'; '.join(told.values())}; +{grew['all of them']:.1f} MiB at the end; {server.asked()}")
    for name, most in grew.items():
        if most >= 64:
            server.fails(f"{name}: the server's memory grew by {most:.0f} MiB, less than 64 were expected")


def slow_senders(server, count):
    """A byte a second: half of them of the head, the others of the body."""
    post, crowd = POST.format("/recommend").encode(), Crowd()
    for number in range(count):
        stream, is_head = server.connect(), number % 2 == 0
        crowd.add(stream, "slow heads" if is_head else "slow bodies")
        crowd.send(stream, b"" if is_head else post + b"Content-Length: 1000\r\n\r\n")
    for letter in itertools.islice(itertools.chain(post + b"X-Slow: ", itertools.repeat(ord("x"))), IDLE_S + LATE_S):
        for stream, (kind, _) in list(crowd.open.items()):
            crowd.send(stream, bytes([letter]) if kind == "slow heads" else b" ")
        if server.ask_for(1, crowd.look):
            break
    print(f"connections: {server.doing}: {server.asked()}; the server closed {crowd.told()}")
    if crowd.open:
        server.fails(f"{len(crowd.open)} of {count} are open {IDLE_S + LATE_S} s later")
    if max(crowd.ended["slow bodies"]) > ANSWER_S + LATE_S:
        server.fails(f"bodies were waited for longer than {ANSWER_S} s")


def who_does_not_read(server, count):
    """Large answers that nobody takes: they are in the server's memory until it gives up, as many as there is room for; whoever
    wants another one is refused."""
    body = json.dumps({"requests": [QUESTION] * 1000, "num_recommendations": 100})
    request = (POST.format("/recommend-batch") + f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
    files, memory, streams, begin = server.files(), server.anonymous_mib(), [], time.monotonic()
    refused = 0
    for number in range(count):
        stream = server.connect(number, receive_bytes=4096)
        stream.sendall(request)
        # The next one when this one's answer is there: the server is to hold them, not to work on all at once.
        try:
            start = stream.recv(12, socket.MSG_PEEK)
        except OSError as error:
            server.fails(f"batch {number} had no answer: {error!r}")
        if start == b"HTTP/1.1 503" and number > 0:
            refused += 1
            stream.close()
        elif start == b"HTTP/1.1 200" and not refused:
            streams.append(stream)
        else:
            server.fails(f"batch {number} was answered {start} after {refused} that were refused")
        server.ask()
    opened_s, held, most = time.monotonic() - begin, server.files() - files, server.anonymous_mib() - memory
    has_cut = server.ask_for(IDLE_S + LATE_S, lambda: server.files() <= files)
    cut_s = time.monotonic() - begin
    # What the systems on both sides had buffered, and no more.
    taken = 0
    for stream in streams:
        with stream, contextlib.suppress(ConnectionError):
            while has_cut and (part := stream.recv(1 << 20)):
                taken += len(part)
    print(
        f"connections: {server.doing}: {held} answers open after {opened_s:.0f} s, {most:.0f} MiB of the server's for them, {refused} more refused, "
        f"{server.files() - files} connections open after {cut_s:.0f} s; {taken / len(streams) / 1024:.0f} KiB of each came; {server.asked()}; "
        f"{server.anonymous_mib() - memory:.0f} MiB left"
    )
    if most > UNSENT_MIB + BESIDE_MIB or not refused:
        server.fails(f"answers that nobody takes have more than {UNSENT_MIB} MiB")
    if not has_cut:
        server.fails(f"answers that nobody takes are still held {IDLE_S + LATE_S} s after the last was asked for")


def connections(recs, folder, count):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 200:
        print(f"connections: this user may open {hard} files: {hard - 200} idle connections instead of {count}")
        count = hard - 200
    for stage in (("extract",), ("dataset",), ("vocab",), ("train", "--epochs", "1")):
        run(recs, folder, *stage)
    with serving(recs, folder) as server:
        server.ask_for(5)
        print(f"connections: {server.doing}: {server.asked()}")
        for doing, what, number in (
            ("idle", idle, count),
            ("too large", large_requests, 5),
            ("a byte a second", slow_senders, 200),
            # Fewer than the 256 requests that one tenant may have under way, and more than their answers have room.
            ("nothing is read", who_does_not_read, 200),
        ):
            server.doing = doing
            what(server, number)
