"""What becomes of events over time, over gRPC from Python: snapshots, upcasters, truncation with an archive, trimming,
erasure. Every method of the service is called: lifecycle.py HTTP-ADDRESS"""

import json
import sys

import grpc
from levada.events.v1 import events_pb2 as events
from levada.events.v1 import events_pb2_grpc as events_services
from levada.events.v1 import lifecycle_pb2 as api
from levada.events.v1 import lifecycle_pb2_grpc as services

channel = grpc.insecure_channel(sys.argv[1])
store, lifecycle = events_services.EventsStub(channel), services.LifecycleStub(channel)
bill = {"category": "py.bills", "stream": "bill-1"}


def append(stream, *new):
    part = events.StreamAppend(stream=stream, events=new)
    return store.Append(events.AppendRequest(category="py.bills", streams=[part]), timeout=30).position


def read(position, **more):
    fresh = events.Freshness(min_position=position, wait_ms=5000)
    return list(store.ReadStream(events.ReadStreamRequest(**bill, freshness=fresh, **more), timeout=30))


def not_found(what):
    try:
        what()
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return
    raise AssertionError("it was found")


at = append("bill-1", *(events.NewEvent(id=f"bill-{n}", type="Billed", data=json.dumps({"sum": n}).encode())
                        for n in range(1, 5)))

# A snapshot, and the events after it.
snapshot = api.Snapshot(version=3, schema_version=2, data=b'{"total":6}')
put = lifecycle.PutSnapshot(api.PutSnapshotRequest(**bill, snapshot=snapshot), timeout=30)
assert (put.version, put.schema_version) == (3, 2), put
got = lifecycle.GetSnapshot(api.GetSnapshotRequest(**bill, schema_version=2), timeout=30)
assert json.loads(got.data) == {"total": 6}, got
not_found(lambda: lifecycle.GetSnapshot(api.GetSnapshotRequest(**bill, schema_version=7), timeout=30))
loaded = list(lifecycle.LoadStream(api.LoadStreamRequest(**bill, schema_version=2), timeout=30))
assert loaded[0].snapshot.version == 3, loaded
assert [it.version for answer in loaded for it in answer.events] == [4], loaded
lifecycle.DeleteSnapshot(api.DeleteSnapshotRequest(**bill), timeout=30)
not_found(lambda: lifecycle.GetSnapshot(api.GetSnapshotRequest(**bill), timeout=30))

# An upcaster lifts what is read.
move = json.dumps([{"op": "move", "from": "/sum", "path": "/total"}])
upcaster = api.Upcaster(type="Billed", from_version=1, patch=move, example='{"sum":1}')
assert json.loads(lifecycle.PutUpcaster(upcaster, timeout=30).result) == {"total": 1}
assert [it.type for it in lifecycle.ListUpcasters(api.ListUpcastersRequest(), timeout=30).upcasters] == ["Billed"]
first = read(at)[0]
assert (json.loads(first.data), first.schema_version) == ({"total": 1}, 2), first
assert json.loads(read(at, raw=True)[0].data) == {"sum": 1}
lifecycle.DeleteUpcaster(api.DeleteUpcasterRequest(type="Billed", from_version=1), timeout=30)
assert not lifecycle.ListUpcasters(api.ListUpcastersRequest(), timeout=30).upcasters

# What is truncated is in the archive only, and the log may be freed of it.
done = lifecycle.TruncateStream(api.TruncateStreamRequest(**bill, before=3, archive=True), timeout=60)
assert (done.first, done.version, done.archived) == (3, 4, 2), done
assert [it.version for it in read(done.position)] == [3, 4]
archived = list(lifecycle.ReadArchive(api.ReadArchiveRequest(**bill), timeout=60))
assert [(it.version, it.id) for it in archived] == [(1, "bill-1"), (2, "bill-2")], archived
trimmed = lifecycle.TrimCategory(api.TrimCategoryRequest(category="py.bills"), timeout=60).partitions
assert trimmed and all(it.start >= it.start_before for it in trimmed), trimmed

# Erased data are null, with a certificate.
named = events.NewEvent(id="named", type="Named", subject="customer:7", personal=["/name"], data=b'{"name":"Ada","no":1}')
at = append("bill-1", named)
assert json.loads(read(at)[-1].data) == {"name": "Ada", "no": 1}
certificate = lifecycle.EraseSubject(api.EraseSubjectRequest(subject="customer:7", reason="asked for"), timeout=60)
assert certificate.reason == "asked for" and certificate.events["py.bills"] == 1 and certificate.key_ids, certificate
last = read(at)[-1]
assert last.erased and json.loads(last.data) == {"name": None, "no": 1}, last
listed = lifecycle.ListCertificates(api.ListCertificatesRequest(subject="customer:7"), timeout=30).certificates
assert [it.subject_sha256 for it in listed] == [certificate.subject_sha256], listed
print("ok")
