// Carries out compat/scenarios.json with Apache Kafka's own Java client. See compat/README.md for what is read and written.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.*;

public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();
    static final Duration PATIENCE = Duration.ofSeconds(20);

    final String bootstrap;
    final Admin admin;
    /** Put before every name, so that scenarios and runs do not meet. */
    String prefix;
    /** The number of the next generated record, by topic. */
    final Map<String, Integer> generated = new HashMap<>();
    /** The members of groups that read by themselves, and how often they read each value. */
    final Map<String, Member> members = new TreeMap<>();
    /** What goes on being written, by topic. */
    final Map<String, Stream> streams = new HashMap<>();
    final Map<String, Integer> seen = new java.util.concurrent.ConcurrentHashMap<>();

    Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", "15000",
            "default.api.timeout.ms", "20000"));
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        int number = 0;
        for (JsonNode scenario : JSON.readTree(System.in)) {
            driver.prefix = arguments[1] + "-" + number++ + "-";
            driver.generated.clear();
            driver.seen.clear();
            System.out.println(JSON.writeValueAsString(driver.run(scenario)));
            driver.members.values().forEach(member -> member.stopping = true);
            driver.members.clear();
            driver.streams.values().forEach(stream -> stream.stopping = true);
            driver.streams.clear();
        }
        driver.admin.close(Duration.ofSeconds(1));
    }

    ObjectNode run(JsonNode scenario) {
        ObjectNode report = JSON.createObjectNode().put("scenario", scenario.get("name").asText());
        ArrayNode observed = report.putArray("observed");
        int number = 0;
        for (JsonNode step : scenario.get("steps")) {
            String where = "step " + ++number + " (" + step.get("do").asText() + "): ";
            String expected = step.path("error").asText(null);
            try {
                JsonNode seen = untilSeen(step);
                if (expected != null) return report.put("outcome", "failed").put("reason", where + "no " + expected);
                observed.add(seen);
            } catch (Throwable thrown) {
                String error = errorName(thrown);
                if (!error.equals(expected)) {
                    return report.put("outcome", "failed").put("reason", where + error + ": " + root(thrown).getMessage());
                }
                observed.add(error);
            }
        }
        return report.put("outcome", "ok");
    }

    /** One step; one with "until" again and again, until that is seen or patience ends. */
    JsonNode untilSeen(JsonNode step) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (true) {
            JsonNode seen = carryOut(step);
            // Written and read again, because a long 1 is not the same node as an int 1.
            if (!step.has("until") || step.get("until").equals(JSON.readTree(JSON.writeValueAsString(seen))) || System.nanoTime() > deadline) return seen;
            Thread.sleep(100);
        }
    }

    JsonNode carryOut(JsonNode step) throws Exception {
        String topic = step.has("topic") ? prefix + step.get("topic").asText() : null;
        switch (step.get("do").asText()) {
            case "describe_cluster": return describeCluster();
            case "create_topic": return createTopic(step, topic);
            case "describe_topic": return describeTopic(topic);
            case "list_topics": return listTopics();
            case "delete_topic": get(admin.deleteTopics(List.of(topic)).all()); return null;
            case "create_partitions":
                get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(step.get("partitions").asInt()))).all());
                return null;
            case "produce": return produce(step, topic);
            case "transaction": return transaction(step, topic);
            case "consume": return consume(step, topic);
            case "list_offsets": return listOffsets(step, topic);
            case "delete_records": return deleteRecords(step, topic);
            case "describe_configs": return describeConfigs(step, topic);
            case "alter_configs": return alterConfigs(step, topic);
            case "committed": return committed(step, topic);
            case "describe_group": return describeGroup(step);
            case "delete_group": get(admin.deleteConsumerGroups(List.of(group(step))).all()); return null;
            case "reset_offsets": return resetOffsets(step, topic);
            case "delete_offsets": return deleteOffsets(step, topic);
            case "list_groups": return listGroups();
            case "log_dirs": return logDirs(topic);
            case "describe_broker_configs": return describeBrokerConfigs(step);
            case "alter_broker_configs": alter(broker(), step); return null;
            case "pause": Thread.sleep(step.get("ms").asLong()); return null;
            case "join": members.put(step.get("member").asText(), new Member(step, topic)); return null;
            case "leave": members.remove(step.get("member").asText()).leave(); return null;
            case "restart": return restart(step.get("member").asText());
            case "assigned": return assigned();
            case "seen": return seen();
            case "disturbed": return disturbed(step);
            case "stream": streams.put(topic, new Stream(step, topic)); return null;
            case "streamed": return streams.remove(topic).end();
            case "share_group_from_beginning": return shareGroupFromBeginning(step);
            case "share_consume": return shareConsume(step, topic);
            default: throw new IllegalArgumentException("unknown step");
        }
    }

    // ---- Cluster, topics, settings ----------------------------------------------------------------------------------

    JsonNode describeCluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        Collection<Node> nodes = get(cluster.nodes());
        Node controller = get(cluster.controller());
        String id = get(cluster.clusterId());
        return JSON.createObjectNode()
            .put("nodes", nodes.size())
            .put("controller_is_node", nodes.stream().anyMatch(node -> node.id() == controller.id()))
            .put("has_cluster_id", id != null && !id.isEmpty());
    }

    JsonNode createTopic(JsonNode step, String topic) throws Exception {
        NewTopic wanted = new NewTopic(topic, Optional.of(step.get("partitions").asInt()), Optional.empty());
        get(admin.createTopics(List.of(wanted.configs(texts(step.path("configs"))))).all());
        return null;
    }

    JsonNode describeTopic(String topic) throws Exception {
        TopicDescription described = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        return JSON.createObjectNode()
            .put("partitions", described.partitions().size())
            .put("replicas", described.partitions().get(0).replicas().size())
            .put("leaders", described.partitions().stream().allMatch(p -> p.leader() != null && !p.leader().isEmpty()));
    }

    JsonNode listTopics() throws Exception {
        ArrayNode names = JSON.createArrayNode();
        get(admin.listTopics().names()).stream().filter(name -> name.startsWith(prefix)).sorted()
            .forEach(name -> names.add(name.substring(prefix.length())));
        return names;
    }

    JsonNode describeConfigs(JsonNode step, String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        ObjectNode found = JSON.createObjectNode();
        for (JsonNode name : step.get("names")) {
            ConfigEntry entry = config.get(name.asText());
            found.putArray(name.asText()).add(entry.value()).add(entry.source().name());
        }
        return found;
    }

    JsonNode alterConfigs(JsonNode step, String topic) throws Exception {
        alter(new ConfigResource(ConfigResource.Type.TOPIC, topic), step);
        return null;
    }

    void alter(ConfigResource resource, JsonNode step) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        for (String kind : List.of("set", "append", "subtract")) {
            texts(step.path(kind)).forEach((name, value) -> changes.add(
                new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.valueOf(kind.toUpperCase(Locale.ROOT)))));
        }
        step.path("delete").forEach(name -> changes.add(
            new AlterConfigOp(new ConfigEntry(name.asText(), null), AlterConfigOp.OpType.DELETE)));
        get(admin.incrementalAlterConfigs(Map.of(resource, changes)).all());
    }

    ConfigResource broker() throws Exception {
        return new ConfigResource(ConfigResource.Type.BROKER, get(admin.describeCluster().controller()).idString());
    }

    JsonNode describeBrokerConfigs(JsonNode step) throws Exception {
        ConfigResource broker = broker();
        Config config = get(admin.describeConfigs(List.of(broker)).all()).get(broker);
        ObjectNode found = JSON.createObjectNode();
        step.get("names").forEach(name -> found.put(name.asText(), config.get(name.asText()).value()));
        return found;
    }

    JsonNode logDirs(String topic) throws Exception {
        int node = get(admin.describeCluster().controller()).id();
        Collection<LogDirDescription> dirs = get(admin.describeLogDirs(List.of(node)).allDescriptions()).get(node).values();
        List<ReplicaInfo> replicas = new ArrayList<>();
        dirs.forEach(dir -> dir.replicaInfos().forEach((partition, info) -> {
            if (partition.topic().equals(topic)) replicas.add(info);
        }));
        return JSON.createObjectNode().put("dirs", dirs.size()).put("partitions", replicas.size())
            .put("all_have_size", replicas.stream().allMatch(info -> info.size() > 0));
    }

    // ---- Records ----------------------------------------------------------------------------------------------------

    Map<String, Object> producerSettings(JsonNode step) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", step.path("acks").asText("all"));
        settings.put("compression.type", step.path("codec").asText("none"));
        settings.put("enable.idempotence", step.path("idempotent").asBoolean(false));
        settings.put("linger.ms", step.path("linger_ms").asInt(5));
        settings.put("batch.size", step.path("batch_bytes").asInt(16384));
        settings.put("max.request.size", step.path("max_request_bytes").asInt(1048576));
        settings.put("delivery.timeout.ms", 20000);
        settings.put("request.timeout.ms", 10000);
        settings.put("max.block.ms", 15000);
        return settings;
    }

    JsonNode produce(JsonNode step, String topic) throws Exception {
        try (Producer<byte[], byte[]> producer =
                 new KafkaProducer<>(producerSettings(step), new ByteArraySerializer(), new ByteArraySerializer())) {
            send(producer, step, topic);
        }
        return null;
    }

    JsonNode transaction(JsonNode step, String topic) throws Exception {
        Map<String, Object> settings = producerSettings(step);
        settings.put("enable.idempotence", true);
        settings.put("transactional.id", prefix + step.get("id").asText());
        try (Producer<byte[], byte[]> producer =
                 new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, step, topic);
            if (step.get("end").asText().equals("commit")) producer.commitTransaction();
            else producer.abortTransaction();
        }
        return null;
    }

    void send(Producer<byte[], byte[]> producer, JsonNode step, String topic) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        JsonNode timestamps = step.path("timestamps");
        for (JsonNode record : step.path("records")) {
            Long timestamp = timestamps.isMissingNode() ? null : timestamps.get(sent.size()).asLong();
            ProducerRecord<byte[], byte[]> wanted =
                new ProducerRecord<>(topic, record.get(0).asInt(), timestamp, bytes(record.get(1)), bytes(record.get(2)));
            for (int i = 3; i < record.size(); i++) wanted.headers().add(record.get(i).get(0).asText(), bytes(record.get(i).get(1)));
            sent.add(producer.send(wanted));
        }
        JsonNode generate = step.path("generate");
        for (int i = 0; i < generate.path("count").asInt(0); i++) {
            int number = generated.merge(topic, 1, Integer::sum) - 1;
            Integer partition = generate.has("partition") ? generate.get("partition").asInt() : null;
            byte[] key = generate.has("keys")
                ? ("k" + number % generate.get("keys").asInt()).getBytes(StandardCharsets.UTF_8) : null;
            sent.add(producer.send(new ProducerRecord<>(topic, partition, key, generatedValue(number, generate.get("value_bytes").asInt()))));
        }
        producer.flush();
        for (Future<RecordMetadata> one : sent) one.get();
    }

    static byte[] generatedValue(int number, int size) {
        byte[] value = new byte[size];
        Arrays.fill(value, (byte) '.');
        byte[] digits = Integer.toString(number).getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(digits, 0, value, 0, Math.min(size, digits.length));
        return value;
    }

    Map<String, Object> consumerSettings(JsonNode step) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", false);
        settings.put("isolation.level", step.path("isolation").asText("read_uncommitted"));
        if (step.has("group")) {
            settings.put("group.id", group(step));
            settings.put("group.protocol", step.get("protocol").asText());
        }
        if (step.path("protocol").asText("").equals("classic")) {
            settings.put("partition.assignment.strategy", step.path("assignor").asText("range").equals("range")
                ? RangeAssignor.class.getName() : CooperativeStickyAssignor.class.getName());
            settings.put("session.timeout.ms", 10000);
            settings.put("heartbeat.interval.ms", 500);
        }
        if (step.has("instance")) settings.put("group.instance.id", step.get("instance").asText());
        return settings;
    }

    JsonNode consume(JsonNode step, String topic) throws Exception {
        int count = step.get("count").asInt();
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (Consumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(consumerSettings(step), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (step.has("seek")) consumer.subscribe(List.of(topic), new Elsewhere(consumer, offsets(topic, step.get("seek"))));
            else if (step.has("group")) consumer.subscribe(List.of(topic));
            else place(consumer, step.path("from"), topic);
            if (step.has("produce_meanwhile")) {
                ObjectNode meanwhile = JSON.createObjectNode();
                meanwhile.set("records", step.get("produce_meanwhile"));
                produce(meanwhile, topic);
            }
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (records.size() < count && System.nanoTime() < deadline) {
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            }
            // More than was asked for is seen too, if it is there.
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            if (step.has("commit_at")) consumer.commitSync(offsets(topic, step.get("commit_at")), Duration.ofSeconds(10));
            else if (step.path("commit").asBoolean(false)) consumer.commitSync(Duration.ofSeconds(10));
        }
        return report(step, records);
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(String topic, JsonNode byPartition) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        byPartition.fields().forEachRemaining(entry -> offsets.put(
            new TopicPartition(topic, Integer.parseInt(entry.getKey())), new OffsetAndMetadata(entry.getValue().asLong())));
        return offsets;
    }

    /** Moves the position of what is assigned. */
    record Elsewhere(Consumer<?, ?> consumer, Map<TopicPartition, OffsetAndMetadata> positions) implements ConsumerRebalanceListener {
        @Override public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.stream().filter(positions::containsKey).forEach(one -> consumer.seek(one, positions.get(one)));
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
    }

    void place(Consumer<byte[], byte[]> consumer, JsonNode from, String topic) {
        List<TopicPartition> partitions = new ArrayList<>();
        consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
        consumer.assign(partitions);
        if (from.isNumber()) {
            Map<TopicPartition, Long> wanted = new HashMap<>();
            partitions.forEach(partition -> wanted.put(partition, from.asLong()));
            consumer.offsetsForTimes(wanted).forEach((partition, found) -> consumer.seek(partition, found.offset()));
        } else if (from.asText("beginning").equals("end")) {
            consumer.seekToEnd(partitions);
            partitions.forEach(consumer::position);
        } else {
            consumer.seekToBeginning(partitions);
        }
    }

    JsonNode report(JsonNode step, List<ConsumerRecord<byte[], byte[]>> records) {
        records.sort(Comparator.<ConsumerRecord<byte[], byte[]>>comparingInt(ConsumerRecord::partition)
            .thenComparingLong(ConsumerRecord::offset));
        if (step.path("summary").asBoolean(false)) return summary(records);
        ArrayNode lines = JSON.createArrayNode();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            ArrayNode line = lines.addArray().add(record.partition()).add(record.offset());
            line.add(text(record.key())).add(text(record.value()));
            for (Header header : record.headers()) line.addArray().add(header.key()).add(text(header.value()));
            if (step.path("timestamps").asText("").equals("recent")) {
                line.add(Math.abs(System.currentTimeMillis() - record.timestamp()) < 60000 ? "recent" : "not recent");
            } else if (step.path("timestamps").asBoolean(false)) {
                line.add(record.timestamp());
            }
        }
        return lines;
    }

    static JsonNode summary(List<ConsumerRecord<byte[], byte[]>> records) {
        long bytes = 0;
        boolean inOrder = true;
        ConsumerRecord<byte[], byte[]> previous = null;
        TreeMap<Integer, Integer> byPartition = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            bytes += record.value().length;
            byPartition.merge(record.partition(), 1, Integer::sum);
            if (previous != null && previous.partition() == record.partition()) inOrder &= number(previous) < number(record);
            previous = record;
        }
        ObjectNode seen = JSON.createObjectNode().put("records", records.size()).put("value_bytes", bytes).put("in_order", inOrder);
        seen.put("first", records.isEmpty() ? -1 : records.get(0).offset());
        seen.put("last", records.isEmpty() ? -1 : records.get(records.size() - 1).offset());
        ObjectNode counts = seen.putObject("by_partition");
        byPartition.forEach((partition, count) -> counts.put(Integer.toString(partition), count));
        return seen;
    }

    static int number(ConsumerRecord<byte[], byte[]> record) {
        return Integer.parseInt(new String(record.value(), StandardCharsets.US_ASCII).replace(".", ""));
    }

    // ---- Offsets and groups -----------------------------------------------------------------------------------------

    JsonNode listOffsets(JsonNode step, String topic) throws Exception {
        JsonNode at = step.get("at");
        OffsetSpec spec = at.isNumber() ? OffsetSpec.forTimestamp(at.asLong())
            : at.asText().equals("earliest") ? OffsetSpec.earliest() : OffsetSpec.latest();
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions()
            .forEach(info -> wanted.put(new TopicPartition(topic, info.partition()), spec));
        ObjectNode found = JSON.createObjectNode();
        get(admin.listOffsets(wanted).all())
            .forEach((partition, result) -> found.put(Integer.toString(partition.partition()), result.offset()));
        return found;
    }

    JsonNode deleteRecords(JsonNode step, String topic) throws Exception {
        Map<TopicPartition, RecordsToDelete> wanted = new HashMap<>();
        step.get("before").fields().forEachRemaining(entry -> wanted.put(
            new TopicPartition(topic, Integer.parseInt(entry.getKey())), RecordsToDelete.beforeOffset(entry.getValue().asLong())));
        get(admin.deleteRecords(wanted).all());
        return null;
    }

    JsonNode committed(JsonNode step, String topic) throws Exception {
        ObjectNode found = JSON.createObjectNode();
        Map<TopicPartition, OffsetAndMetadata> offsets;
        try {
            offsets = get(admin.listConsumerGroupOffsets(group(step)).partitionsToOffsetAndMetadata());
        } catch (ExecutionException gone) {
            if (!errorName(gone).equals("GROUP_ID_NOT_FOUND")) throw gone;
            return found;
        }
        new TreeMap<>(Map.copyOf(names(offsets, topic))).forEach((partition, offset) -> found.put(partition, offset));
        return found;
    }

    static Map<String, Long> names(Map<TopicPartition, OffsetAndMetadata> offsets, String topic) {
        Map<String, Long> named = new HashMap<>();
        offsets.forEach((partition, offset) -> {
            if (offset != null && partition.topic().equals(topic)) named.put(Integer.toString(partition.partition()), offset.offset());
        });
        return named;
    }

    JsonNode describeGroup(JsonNode step) throws Exception {
        String name = group(step);
        GroupState state = get(admin.describeConsumerGroups(List.of(name)).all()).get(name).groupState();
        return JSON.getNodeFactory().textNode(state.name());
    }

    JsonNode resetOffsets(JsonNode step, String topic) throws Exception {
        get(admin.alterConsumerGroupOffsets(group(step), offsets(topic, step.get("to"))).all());
        return null;
    }

    JsonNode deleteOffsets(JsonNode step, String topic) throws Exception {
        Set<TopicPartition> partitions = new HashSet<>();
        step.get("partitions").forEach(partition -> partitions.add(new TopicPartition(topic, partition.asInt())));
        get(admin.deleteConsumerGroupOffsets(group(step), partitions).all());
        return null;
    }

    JsonNode listGroups() throws Exception {
        ArrayNode names = JSON.createArrayNode();
        get(admin.listGroups().all()).stream().map(GroupListing::groupId).filter(name -> name.startsWith(prefix)).sorted()
            .forEach(name -> names.add(name.substring(prefix.length())));
        return names;
    }

    JsonNode shareGroupFromBeginning(JsonNode step) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group(step));
        AlterConfigOp earliest =
            new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(earliest))).all());
        return null;
    }

    JsonNode shareConsume(JsonNode step, String topic) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", group(step));
        try (KafkaShareConsumer<byte[], byte[]> consumer =
                 new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (records.size() < step.get("count").asInt() && System.nanoTime() < deadline) {
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            }
            consumer.commitSync(Duration.ofSeconds(10));
        }
        return report(step, records);
    }

    // ---- Members of groups ------------------------------------------------------------------------------------------

    /** Writes records in a thread of its own, and watches what the group commits meanwhile. */
    final class Stream {
        final JsonNode step;
        final String topic;
        final Map<String, Long> written = new TreeMap<>();
        final Set<String> values = new HashSet<>();
        Map<String, Long> committed = Map.of();
        boolean wentBack;
        volatile boolean stopping;
        volatile Exception error;
        private final Thread thread = new Thread(this::work);

        Stream(JsonNode step, String topic) {
            this.step = step;
            this.topic = topic;
            thread.setDaemon(true);
            thread.start();
        }

        private void work() {
            try (Producer<byte[], byte[]> producer =
                     new KafkaProducer<>(producerSettings(step), new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int number = 0; !stopping; number++) {
                    List<Future<RecordMetadata>> sent = new ArrayList<>();
                    for (int partition = 0; partition < step.get("partitions").asInt(); partition++) {
                        String value = number + "-" + partition;
                        values.add(value);
                        written.merge(Integer.toString(partition), 1L, Long::sum);
                        sent.add(producer.send(new ProducerRecord<>(topic, partition, null, value.getBytes(StandardCharsets.UTF_8))));
                    }
                    for (Future<RecordMetadata> one : sent) one.get();
                    look();
                }
            } catch (Exception thrown) {
                error = thrown;
            }
        }

        void look() throws Exception {
            Map<String, Long> now = names(get(admin.listConsumerGroupOffsets(group(step)).partitionsToOffsetAndMetadata()), topic);
            wentBack |= committed.entrySet().stream().anyMatch(was -> now.getOrDefault(was.getKey(), -1L) < was.getValue());
            committed = now;
        }

        JsonNode end() throws Exception {
            stopping = true;
            thread.join(PATIENCE.toMillis());
            if (error != null) throw error;
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (true) {
                for (Member member : members.values()) if (member.error != null) throw member.error;
                long lost = values.stream().filter(value -> !seen.containsKey(value)).count();
                look();
                if (lost == 0 && committed.equals(written) || System.nanoTime() > deadline) {
                    return JSON.createObjectNode().put("some", !values.isEmpty()).put("lost", lost)
                        .put("committed", committed.equals(written)).put("went_back", wentBack);
                }
                Thread.sleep(100);
            }
        }
    }

    /** A member of a group, which reads and commits by itself in a thread of its own. */
    final class Member implements ConsumerRebalanceListener {
        final JsonNode step;
        final String topic;
        volatile Set<TopicPartition> partitions = Set.of();
        volatile boolean stopping;
        volatile Exception error;
        Set<TopicPartition> asked = Set.of();
        private final Thread thread = new Thread(this::work);

        Member(JsonNode step, String topic) {
            this.step = step;
            this.topic = topic;
            thread.setDaemon(true);
            thread.start();
        }

        private void work() {
            try (Consumer<byte[], byte[]> consumer =
                     new KafkaConsumer<>(consumerSettings(step), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of(topic), this);
                while (!stopping) {
                    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                    if (records.isEmpty()) continue;
                    commit(consumer);
                    records.forEach(record -> seen.merge(text(record.value()), 1, Integer::sum));
                }
            } catch (Exception thrown) {
                error = thrown;
            }
        }

        /** A patient member has read what it has read, also where it cannot say so because its group is rebalancing. */
        private void commit(Consumer<byte[], byte[]> consumer) {
            try {
                consumer.commitSync(Duration.ofSeconds(10));
            } catch (CommitFailedException | RebalanceInProgressException refused) {
                if (!step.path("patient").asBoolean(false)) throw refused;
            }
        }

        @Override public void onPartitionsAssigned(Collection<TopicPartition> added) {
            Set<TopicPartition> now = new HashSet<>(partitions);
            now.addAll(added);
            partitions = now;
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> removed) {
            Set<TopicPartition> now = new HashSet<>(partitions);
            now.removeAll(removed);
            partitions = now;
        }

        void leave() throws Exception {
            stopping = true;
            thread.join(PATIENCE.toMillis());
            if (error != null) throw error;
        }
    }

    JsonNode restart(String name) throws Exception {
        Member old = members.get(name);
        old.leave();
        members.put(name, new Member(old.step, old.topic));
        return null;
    }

    JsonNode assigned() throws Exception {
        Set<TopicPartition> all = new HashSet<>();
        List<Integer> shares = new ArrayList<>();
        for (Member member : members.values()) {
            if (member.error != null) throw member.error;
            all.addAll(member.partitions);
            shares.add(member.partitions.size());
        }
        Collections.sort(shares);
        if (shares.stream().mapToInt(Integer::intValue).sum() != all.size()) return JSON.getNodeFactory().textNode("overlap");
        return JSON.valueToTree(shares);
    }

    JsonNode seen() throws Exception {
        for (Member member : members.values()) if (member.error != null) throw member.error;
        return JSON.createObjectNode().put("records", seen.size())
            .put("twice", seen.values().stream().mapToInt(times -> times - 1).sum());
    }

    JsonNode disturbed(JsonNode step) {
        boolean changed = false;
        for (JsonNode name : step.get("members")) {
            Member member = members.get(name.asText());
            changed |= !member.partitions.equals(member.asked);
            member.asked = member.partitions;
        }
        return JSON.getNodeFactory().booleanNode(changed);
    }

    // ---- Odds and ends ----------------------------------------------------------------------------------------------

    String group(JsonNode step) {
        return prefix + step.get("group").asText();
    }

    static Map<String, String> texts(JsonNode object) {
        Map<String, String> texts = new LinkedHashMap<>();
        object.fields().forEachRemaining(entry -> texts.put(entry.getKey(), entry.getValue().asText()));
        return texts;
    }

    static byte[] bytes(JsonNode text) {
        return text == null || text.isNull() ? null : text.asText().getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get();
    }

    static Throwable root(Throwable thrown) {
        while (thrown.getCause() != null && (thrown instanceof ExecutionException || thrown.getClass() == KafkaException.class)) {
            thrown = thrown.getCause();
        }
        return thrown;
    }

    /** The protocol's name of the error, as the scenarios write it. */
    static String errorName(Throwable thrown) {
        Errors error = Errors.forException(root(thrown));
        return error == Errors.UNKNOWN_SERVER_ERROR ? root(thrown).getClass().getSimpleName() : error.name();
    }
}
