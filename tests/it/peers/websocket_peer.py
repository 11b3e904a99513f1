"""A WebSocket server and client; the client says what happened as JSON."""

import asyncio
import json
import os
import ssl
import sys

import websockets

LARGE = 4 << 20


def say(*words):
    print(*words, flush=True)


# --- The server: `serve`.


async def answer(socket):
    path = socket.path.rsplit("/", 1)[-1]
    say("asked", json.dumps({name.lower(): value for name, value in socket.request_headers.raw_items()}))
    if path == "bye":
        await socket.close(4001, "had enough")
    elif path == "first":
        # Before the client has said anything.
        await socket.send("welcome")
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
    say("closed", socket.close_code, socket.close_reason)


async def serve():
    async with websockets.serve(answer, "127.0.0.1", 0, max_size=2 * LARGE) as server:
        host, port = server.sockets[0].getsockname()
        say(f"ready {host}:{port}")
        await asyncio.Future()


# --- The client: `call CASE URL KEY [CA]`; an empty key is none.


async def echo(socket):
    """Text, bytes, in one piece and in many."""
    large = os.urandom(LARGE)
    pieces = ["frag", "ment", "ed", " änd joined"]
    await socket.send(iter(pieces))
    joined = await socket.recv()
    same = {"fragments": joined == "".join(pieces)}
    messages = {"text": "änderung", "empty": "", "binary": bytes(range(256)), "large": large}
    for name, message in messages.items():
        await socket.send(message)
        same[name] = await socket.recv() == message
    return same


async def compressed(socket):
    text = "again and again " * 10_000
    await socket.send(text)
    same = await socket.recv() == text
    return {"same": same, "extensions": [it.name for it in socket.extensions]}


async def many(socket):
    """Messages that overtake their answers."""
    messages = [f"{number} " * (number % 97) for number in range(2_000)]

    async def send():
        for message in messages:
            await socket.send(message)

    sending = asyncio.create_task(send())
    answers = [await socket.recv() for _ in messages]
    await sending
    return answers == messages


async def ping(socket):
    for _ in range(3):
        await asyncio.wait_for(await socket.ping(), 20)
    return "pong"


async def first(socket):
    return await asyncio.wait_for(socket.recv(), 20)


async def leave(socket):
    await socket.close(4002, "gone home")
    return socket.close_code


async def hold(socket):
    """Until the other side closes."""
    await socket.send("here")
    await socket.recv()
    say("held")
    await socket.wait_closed()
    return {"code": socket.close_code, "reason": socket.close_reason}


async def chat(socket):
    """Says something again and again, until the other side closes."""
    try:
        while True:
            await socket.send("x" * 1_000)
            await socket.recv()
            say("held")
            await asyncio.sleep(0.005)
    except websockets.ConnectionClosed:
        return {"code": socket.close_code, "reason": socket.close_reason}


async def bye(socket):
    await socket.wait_closed()
    return {"code": socket.close_code, "reason": socket.close_reason}


CASES = {it.__name__: it for it in (echo, compressed, many, ping, first, leave, hold, chat, bye)}


def believing(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context


async def call(case, url, key, ca=None):
    headers = {"api-key": key} if key else {}
    trust = {"ssl": believing(ca)} if ca else {}
    try:
        async with websockets.connect(
            url, extra_headers=headers, max_size=2 * LARGE, close_timeout=20, **trust
        ) as socket:
            outcome = await CASES[case](socket)
    except websockets.InvalidStatusCode as refused:
        outcome = {"status": refused.status_code}
    say("outcome", json.dumps(outcome))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(call(*sys.argv[2:]))
