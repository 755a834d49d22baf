"""Kafka's own command-line classes, Connect and a Streams program with a broker: `checks` does each and says what it saw.

A check is a function below; its docstring is what the page says of it. It returns what is compared between the brokers,
and fails by an assertion.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "levada"
PATIENCE = 60
# Small and quick to start; the tools do little.
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def classpath():
    """Kafka's jars and the program for Streams, resolved and compiled once."""
    stamp = hashlib.sha256((HERE / "pom.xml").read_bytes() + (HERE / "WordCount.java").read_bytes()).hexdigest()[:16]
    place = CACHE / f"compat-tools-{stamp}"
    jars = place / "classpath"
    if not (place / "ok").exists():
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:build-classpath", f"-Dmdep.outputFile={jars}"], check=True,
        )
        subprocess.run(["javac", "-nowarn", "-cp", jars.read_text(), "-d", place, HERE / "WordCount.java"], check=True)
        (place / "ok").touch()
    return f"{place}:{jars.read_text()}"


class Tools:
    def __init__(self, bootstrap, work, log):
        self.bootstrap, self.work, self.log = bootstrap, work, log
        self.classpath = classpath()

    def start(self, name, *arguments, **more):
        return subprocess.Popen(
            [*JAVA, "-cp", self.classpath, name, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
        )

    def run(self, name, *arguments, given=None, may_fail=False):
        """What the class writes."""
        process = self.start(name, *arguments, stdin=subprocess.PIPE)
        try:
            written, complaints = process.communicate(given, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            written, complaints = process.communicate()
            raise AssertionError(f"{name} did not end: {last(written + complaints)}") from None
        self.log.write(f"$ {name} {arguments}\n{written}{complaints}\n")
        assert may_fail or process.returncode == 0, f"{name} ended with {process.returncode}: {last(complaints or written)}"
        return written + (complaints if may_fail else "")

    def tool(self, name, *arguments, **more):
        return self.run(f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.bootstrap, *arguments, **more)

    def produce(self, topic, lines, *arguments):
        self.tool("ConsoleProducer", "--topic", topic, *arguments, given="".join(f"{line}\n" for line in lines))

    def consume(self, topic, count, *arguments):
        return self.tool("consumer.ConsoleConsumer", "--topic", topic, "--max-messages", count, "--timeout-ms", 20000, *arguments).splitlines()


def last(text):
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    return " / ".join(lines[-3:])[-300:]


def words(text, beginning=""):
    """The lines that begin so, their words between single blanks."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip().startswith(beginning)]


# ---- The checks -----------------------------------------------------------------------------------------------------


def topics(tools):
    """`kafka-topics`: create, describe, list, alter, delete"""
    run = lambda *arguments, **more: tools.tool("TopicCommand", *arguments, **more)
    run("--create", "--topic", "tools-topics", "--partitions", 3, "--config", "retention.ms=3600000")
    described = run("--describe", "--topic", "tools-topics")
    run("--alter", "--topic", "tools-topics", "--partitions", 4)
    grown = run("--describe", "--topic", "tools-topics")
    again = run("--create", "--topic", "tools-topics", may_fail=True)
    listed = "tools-topics" in run("--list").split()
    run("--delete", "--topic", "tools-topics")
    gone = "tools-topics" not in run("--list").split()
    assert listed and gone and "TopicExistsException" in again and len(words(grown, "Topic: tools-topics Partition")) in (0, 4), grown
    # A new cluster of Kafka 4.3 has min.insync.replicas as a setting of the whole cluster (KIP-966), which is shown here.
    mine = r"TopicId: \S+|(Leader|Replicas|Isr): \d+|min.insync.replicas=1,"
    shown = lambda text: " ".join(re.sub(mine, "", text).split())
    return [shown(described), shown(grown)]


def configs(tools):
    """`kafka-configs`: topics, brokers and groups, described, changed and set back"""
    run = lambda *arguments, **more: tools.run("kafka.admin.ConfigCommand", "--bootstrap-server", tools.bootstrap, *arguments, **more)
    tools.tool("TopicCommand", "--create", "--topic", "tools-configs")
    topic = ("--entity-type", "topics", "--entity-name", "tools-configs")
    run("--alter", *topic, "--add-config", "retention.ms=7200000,cleanup.policy=[compact,delete]")
    changed = run("--describe", *topic)
    run("--alter", *topic, "--delete-config", "retention.ms")
    back = run("--describe", *topic)
    assert "retention.ms=7200000" in changed and "retention.ms" not in back and "cleanup.policy=compact,delete" in back, changed
    brokers = ("--entity-type", "brokers", "--entity-default")
    run("--alter", *brokers, "--add-config", "log.cleaner.backoff.ms=300")
    dynamic = run("--describe", *brokers)
    run("--alter", *brokers, "--delete-config", "log.cleaner.backoff.ms")
    assert "log.cleaner.backoff.ms=300" in dynamic, dynamic
    group = ("--entity-type", "groups", "--entity-name", "tools-configs")
    run("--alter", *group, "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000")
    session = run("--describe", "--entity-type", "groups")
    refused = run("--alter", *group, "--add-config", "consumer.session.timeout.ms=1", may_fail=True)
    run("--alter", *group, "--delete-config", "consumer.session.timeout.ms,consumer.heartbeat.interval.ms")
    none = run("--describe", "--entity-type", "groups")
    assert "consumer.session.timeout.ms=50000" in session and "greater than or equal to group.consumer.min.session.timeout.ms" in refused, session + refused
    assert "consumer." not in none, none
    # Levada names log.retention.hours behind retention.ms, as it does for log.retention.ms; Kafka stops at what is not set.
    changed = changed.replace(", DEFAULT_CONFIG:log.retention.hours=168", "")
    return [words(text, setting) for text, setting in ((changed, "cleanup"), (changed, "retention"), (back, "cleanup"), (dynamic, "log"), (session, "consumer"), (none, "consumer"))]


def nobody(tools):
    """`kafka-configs` of users and clients, `kafka-transactions`: nobody has a quota or a credential, nothing goes on"""
    describe = lambda kind: tools.run("kafka.admin.ConfigCommand", "--bootstrap-server", tools.bootstrap, "--describe", "--entity-type", kind)
    listed = tools.tool("TransactionsCommand", "list")
    assert words(listed, "TransactionalId"), listed
    return [words(describe("users")), words(describe("clients")), words(listed)]


def console(tools):
    """`kafka-console-producer`, `kafka-console-consumer`: keys, headers, a group"""
    tools.tool("TopicCommand", "--create", "--topic", "tools-console", "--partitions", 1)
    properties = ("parse.key=true", "key.separator=:", "parse.headers=true", "headers.delimiter=;")
    tools.produce("tools-console", ["h:1;a:one", "h:2;b:two"], *(word for one in properties for word in ("--reader-property", one)))
    shown = ("print.key=true", "print.headers=true", "print.offset=true", "print.partition=true")
    return tools.consume("tools-console", 2, "--from-beginning", *(word for one in shown for word in ("--formatter-property", one)))


def get_offsets(tools):
    """`kafka-get-offsets`, `kafka-delete-records`: the ends of partitions, and a new beginning"""
    tools.tool("TopicCommand", "--create", "--topic", "tools-offsets", "--partitions", 1)
    tools.produce("tools-offsets", range(10))
    offsets = lambda at: tools.tool("GetOffsetShell", "--topic", "tools-offsets", "--time", at).split()
    before = [offsets("earliest"), offsets("latest")]
    wanted = tools.work / "delete.json"
    wanted.write_text(json.dumps({"partitions": [{"topic": "tools-offsets", "partition": 0, "offset": 4}], "version": 1}))
    deleted = words(tools.tool("DeleteRecordsCommand", "--offset-json-file", wanted), "partition")
    after = [offsets("earliest"), offsets("latest")]
    assert after == [["tools-offsets:0:4"], ["tools-offsets:0:10"]], after
    return [before, deleted, after]


def groups(tools):
    """`kafka-consumer-groups`, `kafka-groups`: list, describe, reset, delete offsets, delete"""
    run = lambda *arguments, **more: tools.tool("consumer.group.ConsumerGroupCommand", *arguments, **more)
    tools.tool("TopicCommand", "--create", "--topic", "tools-groups", "--partitions", 1)
    tools.produce("tools-groups", range(10))
    tools.consume("tools-groups", 10, "--group", "tools-g", "--from-beginning")
    described = words(run("--describe", "--group", "tools-g"), "tools-g")
    state = words(run("--describe", "--group", "tools-g", "--state"), "tools-g")
    members = words(run("--describe", "--group", "tools-g", "--members", may_fail=True))
    reset = words(run("--reset-offsets", "--group", "tools-g", "--topic", "tools-groups", "--to-offset", 3, "--execute"), "tools-g")
    rest = tools.consume("tools-groups", 7, "--group", "tools-g")
    listed = [words(run("--list"), "tools-g"), words(tools.tool("GroupsCommand", "--list"), "tools-g")]
    offsets = words(run("--delete-offsets", "--group", "tools-g", "--topic", "tools-groups"))
    deleted = words(run("--delete", "--group", "tools-g"))
    gone = words(run("--list"), "tools-g")
    assert rest == [str(number) for number in range(3, 10)] and not gone, [rest, gone]
    # The coordinator's address is each broker's own.
    state = [re.sub(r"\S+:\d+ \(\d+\)|\S+:\d+ \d+", "COORDINATOR", line) for line in state]
    return [described, state, members, reset, rest, listed, offsets, deleted]


def log_dirs(tools):
    """`kafka-log-dirs`: where partitions are and how large"""
    tools.tool("TopicCommand", "--create", "--topic", "tools-dirs", "--partitions", 2)
    tools.produce("tools-dirs", range(100))
    (line,) = words(tools.tool("LogDirsCommand", "--describe", "--topic-list", "tools-dirs"), "{")
    dirs = [one for broker in json.loads(line)["brokers"] for one in broker["logDirs"]]
    partitions = sorted((one["partition"], one["size"] > 0) for found in dirs for one in found["partitions"])
    assert [name for name, _ in partitions] == ["tools-dirs-0", "tools-dirs-1"], line
    return [len(dirs), [found["error"] for found in dirs], [name for name, _ in partitions]]


def perf(tools):
    """`kafka-producer-perf-test`, `kafka-consumer-perf-test`: 20 000 records there and back"""
    tools.tool("TopicCommand", "--create", "--topic", "tools-perf", "--partitions", 1)
    produced = tools.run(
        "org.apache.kafka.tools.ProducerPerformance", "--topic", "tools-perf", "--num-records", 20000, "--record-size", 100,
        "--throughput", -1, "--bootstrap-server", tools.bootstrap,
    )
    assert "20000 records sent" in produced, produced
    consumed = tools.tool("ConsumerPerformance", "--topic", "tools-perf", "--num-records", 20000, "--timeout", 20000)
    *_, line = consumed.strip().splitlines()
    assert line.split(",")[4].strip() == "20000", consumed
    return 20000


def verifiable(tools):
    """`kafka-verifiable-producer`, `kafka-verifiable-consumer`: every record acknowledged, and read under both protocols"""
    tools.tool("TopicCommand", "--create", "--topic", "tools-verifiable", "--partitions", 3)
    produced = tools.tool("VerifiableProducer", "--topic", "tools-verifiable", "--max-messages", 1000)
    *_, summary = [json.loads(line) for line in produced.splitlines() if '"tool_data"' in line]
    assert (summary["sent"], summary["acked"]) == (1000, 1000), summary
    seen = [summary["acked"]]
    for protocol in ("classic", "consumer"):
        consumed = tools.tool(
            "VerifiableConsumer", "--topic", "tools-verifiable", "--group-id", f"tools-v-{protocol}", "--max-messages", 1000,
            "--reset-policy", "earliest", "--group-protocol", protocol,
        )
        events = [json.loads(line) for line in consumed.splitlines() if line.startswith("{")]
        seen.append(sum(event["count"] for event in events if event["name"] == "records_consumed"))
        seen.append(sorted({event["name"] for event in events}))
        assert seen[-2] == 1000, consumed[-300:]
        assert all(event["success"] for event in events if event["name"] == "offsets_committed"), consumed[-300:]
    return seen


def cluster(tools):
    """`kafka-cluster`, `kafka-broker-api-versions`: the cluster's id, and what the broker serves"""
    shown = tools.run("org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", tools.bootstrap)
    assert re.fullmatch(r"Cluster ID: \S{22}", shown.strip()), shown
    served = tools.tool("BrokerApiVersionsCommand")
    assert "Produce(0): 0 to" in served.replace("\t", " "), served[:300]
    return None


def connect(tools):
    """Connect, standalone: a file to a topic (FileStreamSource) to a file (FileStreamSink), stopped and started again"""
    place = tools.work / "connect"
    place.mkdir()
    source, sink = place / "in.txt", place / "out.txt"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    converter = "org.apache.kafka.connect.storage.StringConverter"
    write = lambda file, /, **settings: (place / file).write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in settings.items()))
    write("worker.properties", bootstrap_servers=tools.bootstrap, key_converter=converter, value_converter=converter,
          offset_storage_file_filename=place / "offsets", offset_flush_interval_ms=500, listeners=f"http://127.0.0.1:{port}",
          plugin_discovery="only_scan")
    write("source.properties", name="in", connector_class="FileStreamSource", tasks_max=1, file=source, topic="tools-connect")
    write("sink.properties", name="out", connector_class="FileStreamSink", tasks_max=1, file=sink, topics="tools-connect")
    expected = ""
    for number in range(2):
        with source.open("a") as lines:
            added = "".join(f"line {number} {line}\n" for line in range(100))
            lines.write(added)
        expected += added
        with ended(tools, "org.apache.kafka.connect.cli.ConnectStandalone", *(place / f"{name}.properties" for name in ("worker", "source", "sink"))):
            wait_until(lambda: sink.exists() and sink.read_text() == expected, lambda: f"the sink has {sink.exists() and len(sink.read_text())} bytes")
    return len(expected.splitlines())


def streams(tools):
    """Streams: words counted in a state store, at least once; the store comes back from its changelog when its folder is gone"""
    for topic in ("tools-words", "tools-counts"):
        tools.tool("TopicCommand", "--create", "--topic", topic, "--partitions", 2)
    state = tools.work / "streams"
    count = lambda total: tools.run("WordCount", tools.bootstrap, "tools-wordcount", "tools-words", "tools-counts", state, total).split("\n")[:-1]
    tools.produce("tools-words", ["to be or not to be", "to do last"])
    first = count(9)
    shutil.rmtree(state)
    tools.produce("tools-words", ["or be done", "to last"])
    second = count(14)
    assert first == ["be 2", "do 1", "last 1", "not 1", "or 1", "to 3"], first
    assert second == ["be 3", "do 1", "done 1", "last 2", "not 1", "or 2", "to 4"], second
    newest = {}
    for line in tools.consume("tools-counts", 14, "--from-beginning", "--formatter-property", "print.key=true"):
        word, number = line.split("\t")
        newest[word] = max(int(number), newest.get(word, 0))
    assert [f"{word} {number}" for word, number in sorted(newest.items())] == second, newest
    return [first, second]


@contextlib.contextmanager
def ended(tools, name, *arguments):
    """The class runs inside, and ends afterwards."""
    with (tools.work / "output").open("w+") as output:
        process = subprocess.Popen([*JAVA, "-cp", tools.classpath, name, *map(str, arguments)], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        except AssertionError as error:
            output.seek(0)
            raise AssertionError(f"{error}; {last(output.read())}") from None
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.seek(0)
            tools.log.write(output.read())


def wait_until(true, otherwise):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.2)


CHECKS = [topics, configs, nobody, console, get_offsets, groups, log_dirs, perf, verifiable, cluster, connect, streams]


def checks(bootstrap, log, text=""):
    """{name: {"outcome": "ok" | "failed", "reason": why, "observed": what was seen}}, check by check."""
    found = {}
    for check in CHECKS:
        name = check.__doc__.strip()
        if text not in check.__name__:
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                found[name] = {"outcome": "ok", "observed": check(Tools(bootstrap, pathlib.Path(work), log))}
            except Exception as error:  # the report is the place for whatever goes wrong
                found[name] = {"outcome": "failed", "reason": f"{error}" if isinstance(error, AssertionError) else repr(error), "observed": None}
    return found
