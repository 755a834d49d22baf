"""Carries out compat/scenarios.json with kafka-python. See compat/README.md."""

import logging
import re
import time

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, ConfigSourceType, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

from base import PATIENCE, Base, Failed, Record, Skip, main

ERROR_NAMES = {"MESSAGE_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE", "INVALID_TOPIC": "INVALID_TOPIC_EXCEPTION"}


class Listener(ConsumerRebalanceListener):
    def __init__(self, assigned, revoked):
        self.assigned, self.revoked = assigned, revoked

    def on_partitions_assigned(self, assigned):
        self.assigned(assigned)

    def on_partitions_revoked(self, revoked):
        self.revoked(revoked)


class Driver(Base):
    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=15000)

    def named(self, error):
        name = getattr(error, "message", None) if isinstance(error, errors.KafkaError) else None
        return Failed(ERROR_NAMES.get(name, name), str(error)) if name else None

    # ---- Cluster, topics, settings ---------------------------------------------------------------------------------

    def describe_cluster(self, step, topic):
        cluster = self.admin.describe_cluster()
        return {
            "nodes": len(cluster["brokers"]),
            "controller_is_node": any(broker["broker_id"] == cluster["controller_id"] for broker in cluster["brokers"]),
            "has_cluster_id": bool(cluster["cluster_id"]),
        }

    def create_topic(self, step, topic):
        self.admin.create_topics({topic: {"num_partitions": step["partitions"], "configs": step.get("configs", {})}})

    def describe_topic(self, step, topic):
        (described,) = self.admin.describe_topics([topic])
        partitions = described["partitions"]
        return {
            "partitions": len(partitions),
            "replicas": len(partitions[0]["replica_nodes"]),
            "leaders": all(partition["leader_id"] >= 0 for partition in partitions),
        }

    def own(self, names):
        return sorted(name[len(self.prefix):] for name in names if name.startswith(self.prefix))

    def list_topics(self, step, topic):
        return self.own(self.admin.list_topics())

    def delete_topic(self, step, topic):
        self.admin.delete_topics([topic])

    def create_partitions(self, step, topic):
        self.admin.create_partitions({topic: step["partitions"]})

    def configs(self, kind, name):
        described = self.admin.describe_configs([ConfigResource(kind, name)], config_filter="all")
        return described[kind.name.lower()][name]

    def describe_configs(self, step, topic):
        found = self.configs(ConfigResourceType.TOPIC, topic)
        source = lambda entry: ConfigSourceType[entry["config_source"]] if isinstance(entry["config_source"], str) else ConfigSourceType(entry["config_source"])
        return {name: [found[name]["value"], source(found[name]).name] for name in step["names"]}

    def describe_broker_configs(self, step, topic):
        found = self.configs(ConfigResourceType.BROKER, self.broker())
        return {name: found[name]["value"] for name in step["names"]}

    def broker(self):
        return str(self.admin.describe_cluster()["controller_id"])

    def alter(self, kind, name, step):
        changes = {name: ("DELETE", None) for name in step.get("delete", [])}
        for operation in ("set", "append", "subtract"):
            changes |= {name: (operation.upper(), value) for name, value in step.get(operation, {}).items()}
        done = self.admin.alter_configs([ConfigResource(kind, name, changes)], raise_on_unknown=False, incremental=True)
        result = done[kind.name.lower()][name]
        if result != "OK":
            code = re.search(r"\[Error (\d+)\]", result)
            raise errors.for_code(int(code[1]))(result) if code else RuntimeError(result)

    def alter_configs(self, step, topic):
        self.alter(ConfigResourceType.TOPIC, topic, step)

    def alter_broker_configs(self, step, topic):
        self.alter(ConfigResourceType.BROKER, self.broker(), step)

    def log_dirs(self, step, topic):
        (broker,) = self.admin.describe_log_dirs()
        sizes = [
            partition["partition_size"]
            for log_dir in broker["log_dirs"] for found in log_dir["topics"] if found["name"] == topic
            for partition in found["partitions"]
        ]
        return {"dirs": len(broker["log_dirs"]), "partitions": len(sizes), "all_have_size": all(size > 0 for size in sizes)}

    # ---- Records ---------------------------------------------------------------------------------------------------

    def producer(self, step, **more):
        acks = step.get("acks", "all")
        codec = step.get("codec", "none")
        return KafkaProducer(**{
            "bootstrap_servers": self.bootstrap,
            "acks": acks if acks == "all" else int(acks),
            "compression_type": None if codec == "none" else codec,
            "enable_idempotence": step.get("idempotent", False),
            "linger_ms": step.get("linger_ms", 5),
            "batch_size": step.get("batch_bytes", 16384),
            "max_request_size": step.get("max_request_bytes", 1048576),
            "delivery_timeout_ms": int(PATIENCE * 1000),
            "request_timeout_ms": 10000,
        } | more)

    def produce(self, step, topic):
        producer = self.producer(step)
        try:
            self.send(producer, step, topic)
        finally:
            producer.close(timeout=10)

    def transaction(self, step, topic):
        producer = self.producer(step, enable_idempotence=True, transactional_id=self.prefix + step["id"])
        try:
            producer.init_transactions()
            producer.begin_transaction()
            self.send(producer, step, topic)
            if step["end"] == "commit":
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        finally:
            producer.close(timeout=10)

    def send(self, producer, step, topic):
        wanted = list(self.wanted(step, topic))
        if any(value is None for record in wanted for _, value in record.headers):
            raise Skip("the client refuses headers without a value")
        sent = [
            producer.send(
                topic, value=record.value, key=record.key, headers=record.headers, partition=record.partition,
                timestamp_ms=record.timestamp,
            )
            for record in wanted
        ]
        producer.flush(PATIENCE)
        for future in sent:
            future.get(timeout=PATIENCE)

    def consumer(self, step):
        settings = {
            "bootstrap_servers": self.bootstrap,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "isolation_level": step.get("isolation", "read_uncommitted"),
        }
        if "group" in step:
            if step["protocol"] != "classic":
                raise Skip("the client has only the classic protocol")
            cooperative = step.get("assignor") == "cooperative"
            settings |= {
                "group_id": self.prefix + step["group"],
                "partition_assignment_strategy": [CooperativeStickyAssignor if cooperative else RangePartitionAssignor],
                "session_timeout_ms": 10000,
                "heartbeat_interval_ms": 500,
            }
        if "instance" in step:
            settings["group_instance_id"] = step["instance"]
        return KafkaConsumer(**settings)

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
                records += self.polled(consumer, 200)
            # More than was asked for is seen too, if it is there.
            records += self.polled(consumer, 300)
            if "commit_at" in step:
                consumer.commit(self.offsets(topic, step["commit_at"]))
            elif step.get("commit"):
                consumer.commit()
        finally:
            consumer.close()
        return self.report(step, records)

    @staticmethod
    def offsets(topic, by_partition):
        return {
            TopicPartition(topic, int(number)): OffsetAndMetadata(offset, "", -1) for number, offset in by_partition.items()
        }

    @staticmethod
    def subscribe(consumer, step, topic):
        def elsewhere(partitions):
            for partition in partitions:
                offset = step.get("seek", {}).get(str(partition.partition))
                if offset is not None:
                    consumer.seek(partition, offset)

        consumer.subscribe([topic], listener=Listener(elsewhere, lambda _: None))

    def read_as_member(self, member, step, topic):
        consumer = self.consumer(step)
        numbers = lambda partitions: [partition.partition for partition in partitions]
        consumer.subscribe([topic], listener=Listener(
            lambda partitions: member.assigned(numbers(partitions)), lambda partitions: member.revoked(numbers(partitions)),
        ))
        try:
            # A poll that ends in the middle of a rejoin leaves this client without its assignment and without heartbeats, for
            # good. Knowing the topic first saves a second rebalance; long polls do the rest.
            consumer.partitions_for_topic(topic)
            while not member.stopping.is_set():
                records = self.polled(consumer, 1000)
                if records:
                    consumer.commit()
                    self.read += records
        finally:
            consumer.close()

    @staticmethod
    def polled(consumer, timeout):
        return [
            Record(one.partition, one.offset, one.key, one.value, one.headers, one.timestamp)
            for records in consumer.poll(timeout_ms=timeout).values() for one in records
        ]

    @staticmethod
    def place(consumer, start, topic):
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        if isinstance(start, int):
            for partition, found in consumer.offsets_for_times(dict.fromkeys(partitions, start)).items():
                consumer.seek(partition, found.offset)
        elif start == "end":
            consumer.seek_to_end(*partitions)
            for partition in partitions:
                consumer.position(partition)
        else:
            consumer.seek_to_beginning(*partitions)

    # ---- Offsets and groups ----------------------------------------------------------------------------------------

    def partitions(self, topic):
        (described,) = self.admin.describe_topics([topic])
        return [TopicPartition(topic, partition["partition_index"]) for partition in described["partitions"]]

    def list_offsets(self, step, topic):
        at = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST}.get(step["at"], step["at"])
        found = self.admin.list_partition_offsets(dict.fromkeys(self.partitions(topic), at))
        return {str(partition.partition): one.offset for partition, one in found.items()}

    def delete_records(self, step, topic):
        self.admin.delete_records({TopicPartition(topic, int(number)): offset for number, offset in step["before"].items()})

    def committed(self, step, topic):
        group = self.prefix + step["group"]
        try:
            found = self.admin.list_group_offsets(group)[group]
        except errors.GroupIdNotFoundError:
            return {}
        offsets = {str(one.partition): found[one].offset for one in found if one.topic == topic and found[one].offset >= 0}
        return dict(sorted(offsets.items()))

    def reset_offsets(self, step, topic):
        self.raise_any(self.admin.alter_group_offsets(self.prefix + step["group"], self.offsets(topic, step["to"])))

    def delete_offsets(self, step, topic):
        partitions = [TopicPartition(topic, number) for number in step["partitions"]]
        self.raise_any(self.admin.delete_group_offsets(self.prefix + step["group"], partitions))

    @staticmethod
    def raise_any(results):
        for error in results.values():
            if error is not errors.NoError:
                raise error

    def list_groups(self, step, topic):
        return self.own(group["group_id"] for group in self.admin.list_groups())

    def describe_group(self, step, topic):
        group = self.prefix + step["group"]
        return self.admin.describe_groups([group])[group]["group_state"].upper()

    def delete_group(self, step, topic):
        group = self.prefix + step["group"]
        result = self.admin.delete_groups([group])[group]
        if result != "OK":
            raise getattr(errors, result)


logging.disable(logging.CRITICAL)
main(Driver)
