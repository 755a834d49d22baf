"""Carries out compat/scenarios.json with confluent-kafka-python (librdkafka). See compat/README.md."""

import json
import sys
import time
import uuid

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

PATIENCE = 20.0

# librdkafka's names for the protocol's errors, where they differ.
ERROR_NAMES = {
    "INVALID_TOPIC": "INVALID_TOPIC_EXCEPTION",
    "TOPIC_EXCEPTION": "INVALID_TOPIC_EXCEPTION",
    "UNKNOWN_TOPIC_OR_PART": "UNKNOWN_TOPIC_OR_PARTITION",
    "MSG_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE",
    "INVALID_MSG": "INVALID_MESSAGE",
}
CONFIG_SOURCES = {1: "DYNAMIC_TOPIC_CONFIG", 4: "STATIC_BROKER_CONFIG", 5: "DEFAULT_CONFIG"}


class Skip(Exception):
    """This client cannot do that."""


class Failed(Exception):
    """An error with the protocol's name, as the scenarios write it."""

    def __init__(self, error):
        super().__init__(error.str())
        self.name = ERROR_NAMES.get(error.name(), error.name())


def text(data):
    return None if data is None else data.decode("utf-8")


def encoded(value):
    return None if value is None else value.encode("utf-8")


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self.prefix = ""
        self.generated = {}

    def run(self, scenario):
        report = {"scenario": scenario["name"], "observed": []}
        self.generated = {}
        for number, step in enumerate(scenario["steps"], 1):
            expected = step.get("error")
            where = f"step {number} ({step['do']}): "
            try:
                seen = self.until_seen(step)
                if expected:
                    return report | {"outcome": "failed", "reason": f"{where}no {expected}"}
                report["observed"].append(seen)
            except Skip as skip:
                return report | {"outcome": "skip", "reason": str(skip)}
            except (KafkaException, Failed) as error:
                failed = error if isinstance(error, Failed) else Failed(error.args[0])
                if failed.name != expected:
                    return report | {"outcome": "failed", "reason": f"{where}{failed.name}: {failed}"}
                report["observed"].append(failed.name)
            except Exception as error:  # the report is the place for whatever goes wrong
                return report | {"outcome": "failed", "reason": f"{where}{type(error).__name__}: {error}"}
        return report | {"outcome": "ok"}

    def until_seen(self, step):
        """One step; one with "until" again and again, until that is seen or patience ends."""
        deadline = time.monotonic() + PATIENCE
        while True:
            seen = self.carry_out(step)
            if "until" not in step or seen == step["until"] or time.monotonic() > deadline:
                return seen
            time.sleep(0.1)

    def carry_out(self, step):
        method = getattr(self, step["do"], None)
        if method is None:
            raise Skip(f"the client has no call for `{step['do']}`")
        topic = self.prefix + step["topic"] if "topic" in step else None
        return method(step, topic)

    def one(self, futures):
        """The result of the only future of an admin call."""
        (future,) = futures.values()
        return future.result(timeout=PATIENCE)

    # ---- Cluster, topics, settings ---------------------------------------------------------------------------------

    def describe_cluster(self, step, topic):
        cluster = self.admin.describe_cluster(request_timeout=10).result()
        return {
            "nodes": len(cluster.nodes),
            "controller_is_node": any(node.id == cluster.controller.id for node in cluster.nodes),
            "has_cluster_id": bool(cluster.cluster_id),
        }

    def create_topic(self, step, topic):
        new = NewTopic(topic, step["partitions"], -1, config=step.get("configs", {}))
        self.one(self.admin.create_topics([new], operation_timeout=10))

    def describe_topic(self, step, topic):
        partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        return {
            "partitions": len(partitions),
            "replicas": len(partitions[0].replicas),
            "leaders": all(partition.leader >= 0 for partition in partitions.values()),
        }

    def list_topics(self, step, topic):
        names = self.admin.list_topics(timeout=10).topics
        return sorted(name[len(self.prefix):] for name in names if name.startswith(self.prefix))

    def delete_topic(self, step, topic):
        self.one(self.admin.delete_topics([topic], operation_timeout=10))

    def create_partitions(self, step, topic):
        self.one(self.admin.create_partitions([NewPartitions(topic, step["partitions"])], operation_timeout=10))

    def describe_configs(self, step, topic):
        entries = self.one(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        shown = {}
        for name in step["names"]:
            entry = entries[name]
            source = entry.source if isinstance(entry.source, int) else entry.source.value
            shown[name] = [entry.value, CONFIG_SOURCES.get(source, str(source))]
        return shown

    def alter_configs(self, step, topic):
        changes = [ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE) for name in step.get("delete", [])]
        for kind in ("set", "append", "subtract"):
            operation = AlterConfigOpType[kind.upper()]
            changes += [ConfigEntry(name, value, incremental_operation=operation) for name, value in step.get(kind, {}).items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
        self.one(self.admin.incremental_alter_configs([resource]))

    # ---- Records ---------------------------------------------------------------------------------------------------

    def producer(self, step, **more):
        acks = step.get("acks", "all")
        return Producer({
            "bootstrap.servers": self.bootstrap,
            "acks": acks,
            "compression.type": step.get("codec", "none"),
            "enable.idempotence": step.get("idempotent", False),
            "linger.ms": step.get("linger_ms", 5),
            "batch.size": step.get("batch_bytes", 16384),
            "message.max.bytes": step.get("max_request_bytes", 1000000),
            "delivery.timeout.ms": int(PATIENCE * 1000),
            "log_level": 0,
        } | more)

    def produce(self, step, topic):
        producer = self.producer(step)
        self.send(producer, step, topic)

    def transaction(self, step, topic):
        producer = self.producer(step, **{"enable.idempotence": True, "transactional.id": self.prefix + step["id"]})
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
        self.send(producer, step, topic)
        if step["end"] == "commit":
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(PATIENCE)

    def send(self, producer, step, topic):
        errors = []

        def delivered(error, _message):
            if error is not None:
                errors.append(error)

        def send(**record):
            while True:
                try:
                    producer.produce(topic, on_delivery=delivered, **record)
                    return
                except BufferError:
                    producer.poll(0.05)

        timestamps = step.get("timestamps")
        for number, record in enumerate(step.get("records", [])):
            extra = {"timestamp": timestamps[number]} if timestamps else {}
            headers = [(name, encoded(value)) for name, value in record[3:]]
            send(partition=record[0], key=encoded(record[1]), value=encoded(record[2]), headers=headers, **extra)
        generate = step.get("generate", {})
        for _ in range(generate.get("count", 0)):
            number = self.generated.get(topic, 0)
            self.generated[topic] = number + 1
            extra = {"partition": generate["partition"]} if "partition" in generate else {}
            key = f"k{number % generate['keys']}".encode() if "keys" in generate else None
            send(key=key, value=str(number).ljust(generate["value_bytes"], ".").encode(), **extra)
        left = producer.flush(PATIENCE)
        if errors:
            raise Failed(errors[0])
        if left:
            raise TimeoutError(f"{left} records not acknowledged")

    def consume(self, step, topic):
        settings = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.prefix + step.get("group", f"none-{uuid.uuid4()}"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": step.get("isolation", "read_uncommitted"),
            "log_level": 0,
        }
        if "group" in step:
            settings["group.protocol"] = step["protocol"]
        consumer = Consumer(settings)
        try:
            if "group" in step:
                consumer.subscribe([topic])
            else:
                self.place(consumer, step.get("from", "beginning"), topic)
            if "produce_meanwhile" in step:
                self.produce({"records": step["produce_meanwhile"]}, topic)
            messages = []
            deadline = time.monotonic() + PATIENCE
            while len(messages) < step["count"] and time.monotonic() < deadline:
                self.take(consumer.poll(0.2), messages)
            # More than was asked for is seen too, if it is there.
            self.take(consumer.poll(0.3), messages)
            if step.get("commit"):
                consumer.commit(asynchronous=False)
        finally:
            consumer.close()
        return self.report(step, messages)

    @staticmethod
    def take(message, messages):
        if message is None:
            return
        if message.error():
            if message.error().code() not in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                raise KafkaException(message.error())
            return
        messages.append(message)

    def place(self, consumer, start, topic):
        partitions = [TopicPartition(topic, number) for number in self.partitions(topic)]
        if isinstance(start, int):
            for partition in partitions:
                partition.offset = start
            partitions = consumer.offsets_for_times(partitions, timeout=10)
        elif start == "end":
            for partition in partitions:
                # The end as it is now, so that what is produced after this line is read.
                partition.offset = consumer.get_watermark_offsets(partition, timeout=10)[1]
        else:
            for partition in partitions:
                partition.offset = OFFSET_BEGINNING
        consumer.assign(partitions)

    def partitions(self, topic):
        return sorted(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)

    def report(self, step, messages):
        messages.sort(key=lambda message: (message.partition(), message.offset()))
        if step.get("summary"):
            return self.summary(messages)
        lines = []
        for message in messages:
            line = [message.partition(), message.offset(), text(message.key()), text(message.value())]
            line += [[name, text(value)] for name, value in message.headers() or []]
            if step.get("timestamps") == "recent":
                line.append("recent" if abs(time.time() * 1000 - message.timestamp()[1]) < 60000 else "not recent")
            elif step.get("timestamps"):
                line.append(message.timestamp()[1])
            lines.append(line)
        return lines

    @staticmethod
    def summary(messages):
        number = lambda message: int(message.value().rstrip(b"."))
        pairs = [pair for pair in zip(messages, messages[1:]) if pair[0].partition() == pair[1].partition()]
        by_partition = {}
        for message in messages:
            by_partition[str(message.partition())] = by_partition.get(str(message.partition()), 0) + 1
        return {
            "records": len(messages),
            "value_bytes": sum(len(message.value()) for message in messages),
            "in_order": all(number(a) < number(b) for a, b in pairs),
            "first": messages[0].offset() if messages else -1,
            "last": messages[-1].offset() if messages else -1,
            "by_partition": by_partition,
        }

    # ---- Offsets and groups ----------------------------------------------------------------------------------------

    def list_offsets(self, step, topic):
        at = step["at"]
        if isinstance(at, int):
            spec = OffsetSpec.for_timestamp(at)
        else:
            spec = OffsetSpec.earliest() if at == "earliest" else OffsetSpec.latest()
        wanted = {TopicPartition(topic, number): spec for number in self.partitions(topic)}
        futures = self.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=10)
        return {str(partition.partition): future.result().offset for partition, future in futures.items()}

    def delete_records(self, step, topic):
        wanted = [TopicPartition(topic, int(number), offset) for number, offset in step["before"].items()]
        self.one(self.admin.delete_records(wanted, request_timeout=10))

    def committed(self, step, topic):
        group = ConsumerGroupTopicPartitions(self.prefix + step["group"])
        try:
            found = self.one(self.admin.list_consumer_group_offsets([group], request_timeout=10))
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return {}
            raise
        offsets = {str(p.partition): p.offset for p in found.topic_partitions if p.topic == topic and p.offset >= 0}
        return dict(sorted(offsets.items()))

    def describe_group(self, step, topic):
        group = self.prefix + step["group"]
        return self.one(self.admin.describe_consumer_groups([group], request_timeout=10)).state.name

    def delete_group(self, step, topic):
        self.one(self.admin.delete_consumer_groups([self.prefix + step["group"]], request_timeout=10))


def main():
    driver = Driver(sys.argv[1])
    for number, scenario in enumerate(json.load(sys.stdin)):
        driver.prefix = f"{sys.argv[2]}-{number}-"
        print(json.dumps(driver.run(scenario), ensure_ascii=False), flush=True)


main()
