"""A Python service over gRPC, with nothing but the proto file: appends under a version, reads, subscribes, and takes
events as one of several consumers: store.py HTTP-ADDRESS"""

import json
import sys
import urllib.request

import grpc
from levada.events.v1 import events_pb2 as api
from levada.events.v1 import events_pb2_grpc as services

address = sys.argv[1]
store = services.EventsStub(grpc.insecure_channel(address))


def append(stream, event_id, kind, data, **expected):
    event = api.NewEvent(id=event_id, type=kind, data=data)
    part = api.StreamAppend(stream=stream, events=[event], **expected)
    return store.Append(api.AppendRequest(category="py.orders", streams=[part]), timeout=30)


def refused(code, problem, what):
    try:
        what()
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        assert error.code() == code, error
        assert metadata.get("levada-problem", problem) == problem, metadata
        return metadata
    raise AssertionError(f"{problem}: was not refused")


first = append("order-1", "a", "Placed", b'{"total": 12.50}', none=True)
assert [(it.stream, it.version) for it in first.streams] == [("order-1", 1)] and not first.repeated
again = append("order-1", "a", "Placed", b'{"total": 12.50}', none=True)
assert again.repeated and again.streams == first.streams and again.position == first.position
second = append("order-1", "b", "Paid", b"{}", version=1)
told = refused(grpc.StatusCode.FAILED_PRECONDITION, "wrong-version", lambda: append("order-1", "c", "Lost", b"", version=1))
assert told["levada-current"] == "2", told

freshness = api.Freshness(min_position=second.position, wait_ms=5000)
read = list(store.ReadStream(api.ReadStreamRequest(category="py.orders", stream="order-1", freshness=freshness)))
assert [(it.version, it.id, it.type, it.data) for it in read] == [
    (1, "a", "Placed", b'{"total": 12.50}'), (2, "b", "Paid", b"{}")], read
refused(grpc.StatusCode.NOT_FOUND, "not-found",
        lambda: list(store.ReadStream(api.ReadStreamRequest(category="py.orders", stream="nobody"))))

live = store.Subscribe(api.SubscribeRequest(category="py.orders"), timeout=30)
seen, position = [], ""
for answer in live:
    seen += [it.id for it in answer.events]
    position = answer.position
    if answer.caught_up and len(seen) == 2:
        break
live.cancel()
append("order-2", "d", "Placed", b"{}", none=True)
live = store.Subscribe(api.SubscribeRequest(category="py.orders", after=position), timeout=30)
resumed = next(it for answer in live for it in answer.events)
live.cancel()
assert sorted(seen) == ["a", "b"] and resumed.id == "d", (seen, resumed)

request = urllib.request.Request(f"http://{address}/v1/subscriptions/py.orders/py", method="PUT",
                                 data=json.dumps({"maxAttempts": 2, "retryDelay": "0s"}).encode(),
                                 headers={"Content-Type": "application/json"})
urllib.request.urlopen(request, timeout=30).read()
who = {"category": "py.orders", "subscription": "py"}
pull = lambda: list(store.Pull(api.PullRequest(**who, max=10, wait_ms=10000), timeout=30).deliveries)
taken = pull()
# Whoever pulls gets what there is: the two are in partitions of their own.
while len(taken) < 2:
    taken += pull()
assert sorted(it.event.id for it in taken) == ["a", "d"], taken
store.Ack(api.AckRequest(**who, deliveries=[it.delivery for it in taken]), timeout=30)
(paid,) = pull()
assert (paid.event.id, paid.attempt) == ("b", 1)
late = store.Nack(api.NackRequest(**who, deliveries=[paid.delivery], reason="not now"), timeout=30).late
assert not late, late
(paid,) = pull()
assert (paid.event.id, paid.attempt) == ("b", 2)
store.Nack(api.NackRequest(**who, deliveries=[paid.delivery], action=api.NackRequest.PARK, reason="never"), timeout=30)
refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid-request",
        lambda: store.Ack(api.AckRequest(**who, deliveries=["nonsense"]), timeout=30))
refused(grpc.StatusCode.NOT_FOUND, "not-found",
        lambda: store.Pull(api.PullRequest(category="py.orders", subscription="nobody"), timeout=30))
print("ok")
