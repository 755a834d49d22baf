"""Carries out compat/scenarios.json with aiokafka. See compat/README.md."""

import asyncio
import logging
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from base import PATIENCE, Base, Failed, Record, Skip, main

ERROR_NAMES = {"MESSAGE_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE", "INVALID_TOPIC": "INVALID_TOPIC_EXCEPTION"}
CONFIG_SOURCES = {1: "DYNAMIC_TOPIC_CONFIG", 4: "STATIC_BROKER_CONFIG", 5: "DEFAULT_CONFIG"}


class Listener(ConsumerRebalanceListener):
    def __init__(self, assigned, revoked):
        self.assigned, self.revoked = assigned, revoked

    async def on_partitions_assigned(self, assigned):
        self.assigned(assigned)

    async def on_partitions_revoked(self, revoked):
        self.revoked(revoked)


class Driver(Base):
    """Each step is a coroutine that a loop of its own runs; a member of a group has its loop in its thread."""

    def named(self, error):
        name = getattr(error, "message", None) if isinstance(error, errors.KafkaError) else None
        return Failed(ERROR_NAMES.get(name, name), str(error)) if name else None

    def carry_out(self, step):
        done = super().carry_out(step)
        return asyncio.run(done) if asyncio.iscoroutine(done) else done

    async def admin(self, call):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=15000)
        await admin.start()
        try:
            return await call(admin)
        finally:
            await admin.close()

    # ---- Cluster, topics, settings ---------------------------------------------------------------------------------

    async def describe_cluster(self, step, topic):
        cluster = await self.admin(lambda admin: admin.describe_cluster())
        return {
            "nodes": len(cluster["brokers"]),
            "controller_is_node": any(broker["node_id"] == cluster["controller_id"] for broker in cluster["brokers"]),
            "has_cluster_id": bool(cluster["cluster_id"]),
        }

    @staticmethod
    def raise_any(results):
        for _, code, *text in results:
            if code:
                raise errors.for_code(code)(*text)

    async def create_topic(self, step, topic):
        wanted = NewTopic(topic, step["partitions"], 1, topic_configs=step.get("configs", {}))
        self.raise_any((await self.admin(lambda admin: admin.create_topics([wanted]))).topic_errors)

    async def describe_topic(self, step, topic):
        (described,) = await self.admin(lambda admin: admin.describe_topics([topic]))
        partitions = described["partitions"]
        return {
            "partitions": len(partitions),
            "replicas": len(partitions[0]["replicas"]),
            "leaders": all(partition["leader"] >= 0 for partition in partitions),
        }

    def own(self, names):
        return sorted(name[len(self.prefix):] for name in names if name.startswith(self.prefix))

    async def list_topics(self, step, topic):
        return self.own(await self.admin(lambda admin: admin.list_topics()))

    async def delete_topic(self, step, topic):
        self.raise_any((await self.admin(lambda admin: admin.delete_topics([topic]))).topic_error_codes)

    async def create_partitions(self, step, topic):
        await self.admin(lambda admin: admin.create_partitions({topic: NewPartitions(step["partitions"])}))

    async def configs(self, kind, name):
        (response,) = await self.admin(lambda admin: admin.describe_configs([ConfigResource(kind, name)]))
        ((code, text, _, _, entries),) = response.resources
        if code:
            raise errors.for_code(code)(text)
        return {entry[0]: entry for entry in entries}

    async def describe_configs(self, step, topic):
        found = await self.configs(ConfigResourceType.TOPIC, topic)
        return {name: [found[name][1], CONFIG_SOURCES.get(found[name][3])] for name in step["names"]}

    async def describe_broker_configs(self, step, topic):
        cluster = await self.admin(lambda admin: admin.describe_cluster())
        found = await self.configs(ConfigResourceType.BROKER, str(cluster["controller_id"]))
        return {name: found[name][1] for name in step["names"]}

    async def alter_configs(self, step, topic):
        raise Skip("the client can only replace all settings of a topic at once")

    async def alter_broker_configs(self, step, topic):
        raise Skip("the client can only replace all settings of a broker at once")

    # ---- Records ---------------------------------------------------------------------------------------------------

    async def producer(self, step, **more):
        acks = step.get("acks", "all")
        codec = step.get("codec", "none")
        producer = AIOKafkaProducer(**{
            "bootstrap_servers": self.bootstrap,
            "acks": acks if acks == "all" else int(acks),
            "compression_type": None if codec == "none" else codec,
            "enable_idempotence": step.get("idempotent", False),
            "linger_ms": step.get("linger_ms", 5),
            "max_batch_size": max(step.get("batch_bytes", 16384), 1000000 if "batch_bytes" not in step else 0),
            "max_request_size": step.get("max_request_bytes", 1048576),
            "request_timeout_ms": 10000,
        } | more)
        await producer.start()
        return producer

    async def produce(self, step, topic):
        producer = await self.producer(step)
        try:
            await self.send(producer, step, topic)
        finally:
            await producer.stop()

    async def transaction(self, step, topic):
        producer = await self.producer(step, enable_idempotence=True, transactional_id=self.prefix + step["id"])
        try:
            await producer.begin_transaction()
            await self.send(producer, step, topic)
            if step["end"] == "commit":
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
        finally:
            await producer.stop()

    async def send(self, producer, step, topic):
        sent = []
        for record in self.wanted(step, topic):
            sent.append(await producer.send(
                topic, value=record.value, key=record.key, headers=record.headers, partition=record.partition,
                timestamp_ms=record.timestamp,
            ))
        await asyncio.wait_for(asyncio.gather(*sent), PATIENCE)

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
            if step.get("assignor") == "cooperative":
                raise Skip("the client has no cooperative assignment")
            settings |= {
                "group_id": self.prefix + step["group"],
                "partition_assignment_strategy": [RangePartitionAssignor],
                "session_timeout_ms": 10000,
                "heartbeat_interval_ms": 500,
            }
        if "instance" in step:
            settings["group_instance_id"] = step["instance"]
        return AIOKafkaConsumer(**settings)

    async def consume(self, step, topic):
        consumer = self.consumer(step)
        if "group" in step:
            self.subscribe(consumer, step, topic)
        await consumer.start()
        try:
            if "group" not in step:
                await self.place(consumer, step.get("from", "beginning"), topic)
            if "produce_meanwhile" in step:
                await self.produce({"records": step["produce_meanwhile"]}, topic)
            records = []
            deadline = time.monotonic() + PATIENCE
            while len(records) < step["count"] and time.monotonic() < deadline:
                records += await self.polled(consumer, 200)
            # More than was asked for is seen too, if it is there.
            records += await self.polled(consumer, 300)
            if "commit_at" in step:
                offsets = {TopicPartition(topic, int(number)): OffsetAndMetadata(at, "") for number, at in step["commit_at"].items()}
                await consumer.commit(offsets)
            elif step.get("commit"):
                await consumer.commit()
        finally:
            await consumer.stop()
        return self.report(step, records)

    @staticmethod
    def subscribe(consumer, step, topic):
        def elsewhere(partitions):
            for partition in partitions:
                offset = step.get("seek", {}).get(str(partition.partition))
                if offset is not None:
                    consumer.seek(partition, offset)

        consumer.subscribe([topic], listener=Listener(elsewhere, lambda _: None))

    def join(self, step, topic):
        # A reason to skip is found here, not in the member's thread.
        async def check():
            self.consumer(step)

        asyncio.run(check())
        super().join(step, topic)

    def read_as_member(self, member, step, topic):
        asyncio.run(self.reading_as_member(member, step, topic))

    async def reading_as_member(self, member, step, topic):
        consumer = self.consumer(step)
        numbers = lambda partitions: [partition.partition for partition in partitions]
        consumer.subscribe([topic], listener=Listener(
            lambda partitions: member.assigned(numbers(partitions)), lambda partitions: member.revoked(numbers(partitions)),
        ))
        await consumer.start()
        try:
            while not member.stopping.is_set():
                records = await self.polled(consumer, 100)
                if records:
                    await consumer.commit()
                    self.read += records
        finally:
            await consumer.stop()

    @staticmethod
    async def polled(consumer, timeout):
        return [
            Record(one.partition, one.offset, one.key, one.value, list(one.headers), one.timestamp)
            for records in (await consumer.getmany(timeout_ms=timeout)).values() for one in records
        ]

    async def partitions(self, topic):
        (described,) = await self.admin(lambda admin: admin.describe_topics([topic]))
        return [TopicPartition(topic, partition["partition"]) for partition in described["partitions"]]

    async def place(self, consumer, start, topic):
        partitions = await self.partitions(topic)
        consumer.assign(partitions)
        if isinstance(start, int):
            for partition, found in (await consumer.offsets_for_times(dict.fromkeys(partitions, start))).items():
                consumer.seek(partition, found.offset)
        elif start == "end":
            await consumer.seek_to_end(*partitions)
        else:
            await consumer.seek_to_beginning(*partitions)

    # ---- Offsets and groups ----------------------------------------------------------------------------------------

    async def list_offsets(self, step, topic):
        partitions = await self.partitions(topic)
        consumer = self.consumer({})
        await consumer.start()
        try:
            if step["at"] == "earliest":
                found = await consumer.beginning_offsets(partitions)
            elif step["at"] == "latest":
                found = await consumer.end_offsets(partitions)
            else:
                times = await consumer.offsets_for_times(dict.fromkeys(partitions, step["at"]))
                found = {partition: one.offset for partition, one in times.items()}
        finally:
            await consumer.stop()
        return {str(partition.partition): offset for partition, offset in found.items()}

    async def delete_records(self, step, topic):
        wanted = {TopicPartition(topic, int(number)): RecordsToDelete(offset) for number, offset in step["before"].items()}
        await self.admin(lambda admin: admin.delete_records(wanted))

    async def committed(self, step, topic):
        found = await self.admin(lambda admin: admin.list_consumer_group_offsets(self.prefix + step["group"]))
        offsets = {str(one.partition): found[one].offset for one in found if one.topic == topic and found[one].offset >= 0}
        return dict(sorted(offsets.items()))

    async def list_groups(self, step, topic):
        return self.own(group[0] for group in await self.admin(lambda admin: admin.list_consumer_groups()))

    async def describe_group(self, step, topic):
        (response,) = await self.admin(lambda admin: admin.describe_consumer_groups([self.prefix + step["group"]]))
        return response.groups[0][2].upper()


logging.disable(logging.CRITICAL)
main(Driver)
