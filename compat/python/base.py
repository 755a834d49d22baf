"""What the drivers in Python share: the scenarios' loop, members of groups, and how what was seen is written down."""

import json
import sys
import threading
import time
from typing import NamedTuple

PATIENCE = 20.0


class Skip(Exception):
    """This client cannot do that."""


class Failed(Exception):
    """An error with the protocol's name, as the scenarios write it."""

    def __init__(self, name, text=""):
        super().__init__(text)
        self.name = name


class Record(NamedTuple):
    """A record that was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list
    timestamp: int


class Wanted(NamedTuple):
    """A record to be written; without a partition the client's partitioner has its say."""

    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list
    timestamp: int | None


def text(data):
    return None if data is None else bytes(data).decode("utf-8")


def encoded(value):
    return None if value is None else value.encode("utf-8")


class Member:
    """A member of a group, which reads by itself in a thread of its own."""

    def __init__(self, driver, step, topic):
        self.driver, self.step, self.topic = driver, step, topic
        self.partitions = set()
        self.asked = set()
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            self.driver.read_as_member(self, self.step, self.topic)
        except Exception as error:  # told to whoever asks next
            self.error = error

    def assigned(self, partitions):
        self.partitions = self.partitions | set(partitions)

    def revoked(self, partitions):
        self.partitions = self.partitions - set(partitions)

    def leave(self):
        self.stopping.set()
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            raise TimeoutError("the member does not end")


class Stream:
    """Writes records in a thread of its own, and watches what the group commits meanwhile."""

    def __init__(self, driver, step, topic):
        self.driver, self.step, self.topic = driver, step, topic
        self.written = {}
        self.committed = {}
        self.went_back = False
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            number = 0
            while not self.stopping.is_set():
                records = [[partition, "k", f"{number}-{partition}"] for partition in range(self.step["partitions"])]
                self.driver.produce({"records": records}, self.topic)
                for partition, _, value in records:
                    self.written.setdefault(str(partition), []).append(value)
                number += 1
                self.look()
        except Exception as error:  # told when the stream ends
            self.error = error

    def look(self):
        now = self.driver.committed(self.step, self.topic)
        self.went_back = self.went_back or any(now.get(p, -1) < offset for p, offset in self.committed.items())
        self.committed = now

    def end(self):
        self.stopping.set()
        self.thread.join(PATIENCE)
        if self.error is not None:
            raise self.error


class Base:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.prefix = ""
        self.generated = {}
        self.members = {}
        self.streams = {}
        self.read = []

    # ---- Of each client --------------------------------------------------------------------------------------------

    def named(self, error):
        """The error as Failed, or None where it has no name in the protocol."""
        raise NotImplementedError

    def read_as_member(self, member, step, topic):
        """Reads into `self.read` and commits, until `member.stopping`; tells `member` what it was assigned."""
        raise Skip("the client has no groups")

    # ---- The loop --------------------------------------------------------------------------------------------------

    def run(self, scenario):
        report = {"scenario": scenario["name"], "observed": []}
        self.generated, self.members, self.read, self.streams = {}, {}, [], {}
        try:
            return report | self.steps(scenario["steps"], report["observed"])
        finally:
            for member in self.members.values():
                member.stopping.set()
            for stream in self.streams.values():
                stream.stopping.set()

    def steps(self, steps, observed):
        for number, step in enumerate(steps, 1):
            expected = step.get("error")
            where = f"step {number} ({step['do']}): "
            try:
                seen = self.until_seen(step)
                if expected:
                    return {"outcome": "failed", "reason": f"{where}no {expected}"}
                observed.append(seen)
            except Skip as skip:
                return {"outcome": "skip", "reason": str(skip)}
            except Exception as error:  # the report is the place for whatever goes wrong
                failed = error if isinstance(error, Failed) else self.named(error)
                if failed is None:
                    return {"outcome": "failed", "reason": f"{where}{type(error).__name__}: {error}"}
                if failed.name != expected:
                    return {"outcome": "failed", "reason": f"{where}{failed.name}: {failed}"}
                observed.append(failed.name)
        return {"outcome": "ok"}

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

    def pause(self, step, topic):
        time.sleep(step["ms"] / 1000)

    # ---- Members of groups -----------------------------------------------------------------------------------------

    def join(self, step, topic):
        self.members[step["member"]] = Member(self, step, topic)

    def leave(self, step, topic):
        self.members.pop(step["member"]).leave()

    def restart(self, step, topic):
        member = self.members[step["member"]]
        member.leave()
        self.members[step["member"]] = Member(self, member.step, member.topic)

    def assigned(self, step, topic):
        self.raise_members_errors()
        shares = [member.partitions for member in self.members.values()]
        if sum(map(len, shares)) != len(set().union(*shares)):
            return "overlap"
        return sorted(map(len, shares))

    def seen(self, step, topic):
        self.raise_members_errors()
        values = [record.value for record in list(self.read)]
        return {"records": len(set(values)), "twice": len(values) - len(set(values))}

    def stream(self, step, topic):
        self.streams[topic] = Stream(self, step, topic)

    def streamed(self, step, topic):
        stream = self.streams.pop(topic)
        stream.end()
        wanted = {value for values in stream.written.values() for value in values}
        ends = {partition: len(values) for partition, values in stream.written.items()}
        deadline = time.monotonic() + PATIENCE
        while True:
            self.raise_members_errors()
            lost = wanted - {text(record.value) for record in list(self.read)}
            stream.look()
            if (not lost and stream.committed == ends) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return {
            "some": bool(wanted), "lost": len(lost), "committed": stream.committed == ends, "went_back": stream.went_back,
        }

    def disturbed(self, step, topic):
        changed = False
        for name in step["members"]:
            member = self.members[name]
            changed = changed or member.partitions != member.asked
            member.asked = member.partitions
        return changed

    def raise_members_errors(self):
        for member in self.members.values():
            if member.error is not None:
                raise member.error

    # ---- Records ---------------------------------------------------------------------------------------------------

    def wanted(self, step, topic):
        timestamps = step.get("timestamps")
        for number, record in enumerate(step.get("records", [])):
            headers = [(name, encoded(value)) for name, value in record[3:]]
            timestamp = timestamps[number] if timestamps else None
            yield Wanted(record[0], encoded(record[1]), encoded(record[2]), headers, timestamp)
        generate = step.get("generate", {})
        for _ in range(generate.get("count", 0)):
            number = self.generated.get(topic, 0)
            self.generated[topic] = number + 1
            key = f"k{number % generate['keys']}".encode() if "keys" in generate else None
            yield Wanted(generate.get("partition"), key, str(number).ljust(generate["value_bytes"], ".").encode(), [], None)

    def report(self, step, records):
        records = sorted(records)
        if step.get("summary"):
            return self.summary(records)
        lines = []
        for record in records:
            line = [record.partition, record.offset, text(record.key), text(record.value)]
            line += [[name, text(value)] for name, value in record.headers]
            if step.get("timestamps") == "recent":
                line.append("recent" if abs(time.time() * 1000 - record.timestamp) < 60000 else "not recent")
            elif step.get("timestamps"):
                line.append(record.timestamp)
            lines.append(line)
        return lines

    @staticmethod
    def summary(records):
        number = lambda record: int(bytes(record.value).rstrip(b"."))
        pairs = [pair for pair in zip(records, records[1:]) if pair[0].partition == pair[1].partition]
        by_partition = {}
        for record in records:
            by_partition[str(record.partition)] = by_partition.get(str(record.partition), 0) + 1
        return {
            "records": len(records),
            "value_bytes": sum(len(record.value) for record in records),
            "in_order": all(number(a) < number(b) for a, b in pairs),
            "first": records[0].offset if records else -1,
            "last": records[-1].offset if records else -1,
            "by_partition": by_partition,
        }


def main(driver_of):
    driver = driver_of(sys.argv[1])
    for number, scenario in enumerate(json.load(sys.stdin)):
        driver.prefix = f"{sys.argv[2]}-{number}-"
        print(json.dumps(driver.run(scenario), ensure_ascii=False), flush=True)
