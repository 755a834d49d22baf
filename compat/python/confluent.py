"""Carries out compat/scenarios.json with confluent-kafka-python (librdkafka). See compat/README.md."""

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

from base import PATIENCE, Base, Failed, Record, main

# librdkafka's names for the protocol's errors, where they differ.
ERROR_NAMES = {
    "INVALID_TOPIC": "INVALID_TOPIC_EXCEPTION",
    "TOPIC_EXCEPTION": "INVALID_TOPIC_EXCEPTION",
    "UNKNOWN_TOPIC_OR_PART": "UNKNOWN_TOPIC_OR_PARTITION",
    "MSG_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE",
    "INVALID_MSG": "INVALID_MESSAGE",
}
REBALANCING = {
    "REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "STALE_MEMBER_EPOCH", "FENCED_MEMBER_EPOCH", "_NO_OFFSET",
    "_ASSIGNMENT_LOST",
}
ASSIGNORS = {"range": "range", "cooperative": "cooperative-sticky"}
CONFIG_SOURCES = {1: "DYNAMIC_TOPIC_CONFIG", 4: "STATIC_BROKER_CONFIG", 5: "DEFAULT_CONFIG"}


class Driver(Base):
    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def named(self, error):
        if not isinstance(error, KafkaException):
            return None
        name = error.args[0].name()
        return Failed(ERROR_NAMES.get(name, name), error.args[0].str())

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

    def describe_broker_configs(self, step, topic):
        entries = self.one(self.admin.describe_configs([ConfigResource(ResourceType.BROKER, self.broker())]))
        return {name: entries[name].value for name in step["names"]}

    def broker(self):
        return str(self.admin.describe_cluster(request_timeout=10).result().controller.id)

    def alter_broker_configs(self, step, topic):
        self.alter(ConfigResource(ResourceType.BROKER, self.broker(), incremental_configs=self.changes(step)))

    def alter_configs(self, step, topic):
        self.alter(ConfigResource(ResourceType.TOPIC, topic, incremental_configs=self.changes(step)))

    def alter(self, resource):
        self.one(self.admin.incremental_alter_configs([resource]))

    @staticmethod
    def changes(step):
        changes = [ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE) for name in step.get("delete", [])]
        for kind in ("set", "append", "subtract"):
            operation = AlterConfigOpType[kind.upper()]
            changes += [ConfigEntry(name, value, incremental_operation=operation) for name, value in step.get(kind, {}).items()]
        return changes

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

        for record in self.wanted(step, topic):
            extra = {"key": record.key, "value": record.value, "headers": record.headers}
            if record.partition is not None:
                extra["partition"] = record.partition
            if record.timestamp is not None:
                extra["timestamp"] = record.timestamp
            send(**extra)
        left = producer.flush(PATIENCE)
        if errors:
            raise KafkaException(errors[0])
        if left:
            raise TimeoutError(f"{left} records not acknowledged")

    def consumer(self, step):
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
        if step.get("protocol") == "classic":
            settings["partition.assignment.strategy"] = ASSIGNORS[step.get("assignor", "range")]
            settings["session.timeout.ms"] = 10000
            settings["heartbeat.interval.ms"] = 500
        if "instance" in step:
            settings["group.instance.id"] = step["instance"]
        return Consumer(settings)

    def consume(self, step, topic):
        consumer = self.consumer(step)
        try:
            if "group" in step:
                self.subscribe(consumer, step, topic)
            else:
                self.place(consumer, step.get("from", "beginning"), topic)
            if "produce_meanwhile" in step:
                self.produce({"records": step["produce_meanwhile"]}, topic)
            records = []
            deadline = time.monotonic() + PATIENCE
            while len(records) < step["count"] and time.monotonic() < deadline:
                self.take(consumer.poll(0.2), records)
            # More than was asked for is seen too, if it is there.
            self.take(consumer.poll(0.3), records)
            if "commit_at" in step:
                offsets = [TopicPartition(topic, int(number), offset) for number, offset in step["commit_at"].items()]
                consumer.commit(offsets=offsets, asynchronous=False)
            elif step.get("commit"):
                consumer.commit(asynchronous=False)
        finally:
            consumer.close()
        return self.report(step, records)

    @staticmethod
    def subscribe(consumer, step, topic):
        def elsewhere(consumer, partitions):
            for partition in partitions:
                partition.offset = step["seek"].get(str(partition.partition), partition.offset)
            consumer.assign(partitions)

        consumer.subscribe([topic], **({"on_assign": elsewhere} if "seek" in step else {}))

    def read_as_member(self, member, step, topic):
        consumer = self.consumer(step)
        numbers = lambda partitions: [partition.partition for partition in partitions]
        consumer.subscribe(
            [topic],
            on_assign=lambda _, partitions: member.assigned(numbers(partitions)),
            on_revoke=lambda _, partitions: member.revoked(numbers(partitions)),
            on_lost=lambda _, partitions: member.revoked(numbers(partitions)),
        )
        try:
            while not member.stopping.is_set():
                records = []
                self.take(consumer.poll(0.1), records)
                if records:
                    self.commit(consumer, step)
                    self.read += records
        finally:
            consumer.close()

    @staticmethod
    def commit(consumer, step):
        """A patient member has read what it has read, also where it cannot say so because its group is rebalancing."""
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            if not step.get("patient") or error.args[0].name() not in REBALANCING:
                raise

    @staticmethod
    def take(message, records):
        if message is None:
            return
        if message.error():
            if message.error().code() not in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                raise KafkaException(message.error())
            return
        records.append(Record(
            message.partition(), message.offset(), message.key(), message.value(), message.headers() or [],
            message.timestamp()[1],
        ))

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

    def reset_offsets(self, step, topic):
        offsets = [TopicPartition(topic, int(number), offset) for number, offset in step["to"].items()]
        group = ConsumerGroupTopicPartitions(self.prefix + step["group"], offsets)
        self.one(self.admin.alter_consumer_group_offsets([group], request_timeout=10))

    def list_groups(self, step, topic):
        listed = self.admin.list_consumer_groups(request_timeout=10).result()
        if listed.errors:
            raise listed.errors[0]
        return sorted(group.group_id[len(self.prefix):] for group in listed.valid if group.group_id.startswith(self.prefix))

    def describe_group(self, step, topic):
        group = self.prefix + step["group"]
        return self.one(self.admin.describe_consumer_groups([group], request_timeout=10)).state.name

    def delete_group(self, step, topic):
        self.one(self.admin.delete_consumer_groups([self.prefix + step["group"]], request_timeout=10))


main(Driver)
