"""Reads an events topic with the CloudEvents SDK, in a consumer group, and prints what it finds:
read_events.py HOST:PORT TOPIC COUNT"""

import sys
import time

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from kafka import KafkaConsumer


class AsItIs(JSONFormat):
    """The data as they were written: whether they are JSON is nobody's business here."""

    def read_data(self, body, datacontenttype):
        return body.decode() if isinstance(body, bytes) else body


address, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = KafkaConsumer(topic, bootstrap_servers=address, group_id="python-reader", auto_offset_reset="earliest")
found, until = set(), time.monotonic() + 60
while len(found) < count:
    if time.monotonic() > until:
        sys.exit(f"only {sorted(found)}")
    for records in consumer.poll(timeout_ms=500).values():
        for record in records:
            headers = dict(record.headers)
            event = from_binary(KafkaMessage(headers=headers, key=record.key, value=record.value or b""), AsItIs())
            # What the store writes for itself.
            if event.get_type().startswith("levada."):
                continue
            found.add(" ".join([record.key.decode(), headers["lv-ver"].decode(), event.get_id(), event.get_type(),
                                event.get_source(), event.get_subject(), event.get_datacontenttype(),
                                event.get_data()]))
consumer.close()
print("\n".join(sorted(found)))
