"""A gRPC server and client over messages of plain bytes; the client says what happened as JSON."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "keyward.test.Peer"
LARGE = 1 << 20


def say(*words):
    print(*words, flush=True)


# --- The server: `serve [CERTIFICATE KEY]`.


def unary(request, context):
    context.send_initial_metadata((("x-initial", "from the server"),))
    context.set_trailing_metadata((("x-trailing", "to the end"), ("x-binary-bin", b"\x00\xff")))
    return request


def metadata(_request, context):
    seen = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    return json.dumps(seen).encode()


def count_up(request, _context):
    for number in range(int(request)):
        yield str(number).encode()


def count_slowly(request, _context):
    for number in range(int(request)):
        yield str(number).encode()
        time.sleep(0.1)


def add_up(requests, _context):
    sizes = [len(it) for it in requests]
    return json.dumps({"messages": len(sizes), "bytes": sum(sizes)}).encode()


def echo_each(requests, _context):
    yield from requests


def fail(_request, context):
    context.set_trailing_metadata((("x-trailing", "with a refusal"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not 100 % ready, änderung")


def fail_late(_request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def wait(request, context):
    name = request.decode()
    ended = threading.Event()
    context.add_callback(ended.set)
    say("began", name)
    ended.wait(60)
    say("cancelled" if ended.is_set() else "forgotten", name)
    return b""


def drip(request, context):
    """Goes on until it is cancelled."""
    name = request.decode()
    context.add_callback(lambda: say("cancelled", name))
    while context.is_active():
        yield b"drop"
        time.sleep(0.05)


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "CountUp": grpc.unary_stream_rpc_method_handler(count_up),
    "CountSlowly": grpc.unary_stream_rpc_method_handler(count_slowly),
    "AddUp": grpc.stream_unary_rpc_method_handler(add_up),
    "EchoEach": grpc.stream_stream_rpc_method_handler(echo_each),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def serve(files):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
    if files:
        certificate, key = (read(it) for it in files)
        secret = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", secret)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(f"ready 127.0.0.1:{port}")
    server.wait_for_termination()


# --- The client: `call CASE ADDRESS KEY [CA]`; an empty key is none.


class Client:
    def __init__(self, channel, key):
        self.channel = channel
        self.metadata = (("api-key", key),) if key else ()

    def call(self, kind, name):
        return getattr(self.channel, kind)(f"/{SERVICE}/{name}")

    def unary(self, message=b"hello"):
        answer, call = self.call("unary_unary", "Unary").with_call(message, metadata=self.metadata)
        binary = dict(call.trailing_metadata()).get("x-binary-bin", b"")
        return {
            "same": answer == message,
            "initial": dict(call.initial_metadata()).get("x-initial"),
            "trailing": dict(call.trailing_metadata()).get("x-trailing"),
            "binary": list(binary),
        }

    def large(self):
        return self.unary(bytes(range(256)) * (LARGE // 256))

    def upstream_sees(self):
        answer = self.call("unary_unary", "Metadata")(
            b"", metadata=(*self.metadata, ("x-mine", "kept")), timeout=60
        )
        return json.loads(answer)

    def server_stream(self):
        messages = self.call("unary_stream", "CountUp")(b"1000", metadata=self.metadata)
        return [int(it) for it in messages] == list(range(1000))

    def slow_stream(self):
        heard = []
        for message in self.call("unary_stream", "CountSlowly")(b"20", metadata=self.metadata):
            say("heard", message.decode())
            heard.append(int(message))
        return heard == list(range(20))

    def client_stream(self):
        messages = (b"x" * 1024 for _ in range(500))
        answer = self.call("stream_unary", "AddUp")(messages, metadata=self.metadata)
        return json.loads(answer)

    def bidi(self):
        """Sends the next message only when the last one has come back."""
        turn, heard = threading.Semaphore(1), []

        def messages():
            for number in range(100):
                turn.acquire()
                yield str(number).encode()

        for answer in self.call("stream_stream", "EchoEach")(messages(), metadata=self.metadata):
            heard.append(int(answer))
            turn.release()
        return heard == list(range(100))

    def large_stream(self):
        messages = [bytes([number]) * LARGE for number in range(8)]
        answers = self.call("stream_stream", "EchoEach")(iter(messages), metadata=self.metadata)
        return list(answers) == messages

    def many(self):
        """As many calls at once as one connection will have, and more behind them."""
        call = self.call("unary_unary", "Unary")
        messages = [str(it).encode() for it in range(300)]
        calls = [call.future(it, metadata=self.metadata) for it in messages]
        return [it.result() for it in calls] == messages

    def fail(self):
        self.call("unary_unary", "Fail")(b"", metadata=self.metadata)

    def fail_late(self):
        heard = []
        try:
            for message in self.call("unary_stream", "FailLate")(b"", metadata=self.metadata):
                heard.append(message.decode())
        except grpc.RpcError as error:
            return {**refusal(error), "heard": heard}
        return heard

    def deadline(self):
        self.call("unary_unary", "Wait")(b"deadline", metadata=self.metadata, timeout=1)

    def cancel(self):
        """Without a deadline, of which the server would know by itself."""
        call = self.call("unary_stream", "Drip")(b"given up", metadata=self.metadata)
        heard = [next(call) for _ in range(3)]
        call.cancel()
        return len(heard)

    def hold(self):
        """Until somebody else ends it."""
        for message in self.call("unary_stream", "Drip")(b"held", metadata=self.metadata):
            say("heard", message.decode())


def refusal(error):
    trailing = dict(error.trailing_metadata() or ())
    return {
        "status": error.code().name,
        "message": error.details(),
        "trailing": trailing.get("x-trailing"),
    }


def call(case, address, key, ca=None):
    limits = [("grpc.max_receive_message_length", 4 * LARGE)]
    if ca:
        secret = grpc.ssl_channel_credentials(read(ca))
        channel = grpc.secure_channel(address, secret, limits)
    else:
        channel = grpc.insecure_channel(address, limits)
    with channel:
        try:
            outcome = getattr(Client(channel, key), case)()
        except grpc.RpcError as error:
            outcome = refusal(error)
    say("outcome", json.dumps(outcome))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2:])
    else:
        call(*sys.argv[2:])
