"""Appends and reads with the client that a public generator has made of /openapi.json: client URL."""

import sys

import levada_api
from levada_api.rest import ApiException

url = sys.argv[1]
with levada_api.ApiClient(levada_api.Configuration(host=url)) as client:
    events = levada_api.EventsApi(client)
    event = levada_api.EventBody(type="OrderPlaced", data={"total": 12.5}, tags=["customer:7"])
    appended = events.append_to_stream("shop", "order-1", levada_api.EventsBody(event), if_none_match="*")
    assert appended.streams[0].version == 1, appended
    second = levada_api.EventBody(type="OrderPaid", data={"total": 12.5})
    events.append_to_stream("shop", "order-1", levada_api.EventsBody([second]), if_match='"1"')
    try:
        events.append_to_stream("shop", "order-1", levada_api.EventsBody(second), if_match='"1"')
        raise AssertionError("another version was taken")
    except ApiException as refused:
        assert refused.status == 412, refused
    found = events.read_stream("shop", "order-1", levada_min_position=appended.position)
    assert [(it.version, it.type, it.data) for it in found.events] == [
        (1, "OrderPlaced", {"total": 12.5}),
        (2, "OrderPaid", {"total": 12.5}),
    ], found
    backward = events.read_stream("shop", "order-1", direction="backward", limit=1)
    assert [it.version for it in backward.events] == [2], backward
    tagged = events.read_category("shop", tag=["customer:7"], type=["OrderPlaced"])
    assert [it.stream for it in tagged.events] == ["order-1"], tagged
    consumers = levada_api.SubscriptionsApi(client)
    consumers.put_subscription("shop", "mailer", levada_api.SubscriptionSettings(ackTimeout="30s"))
    pulled = consumers.pull_deliveries("shop", "mailer", levada_api.PullBody(max=1, wait="10s"))
    assert [it.event.version for it in pulled.deliveries] == [1], pulled
    consumers.ack_deliveries("shop", "mailer", levada_api.AckBody(deliveries=[it.delivery for it in pulled.deliveries]))
print("the generated client appends, reads and consumes")
