// Counts words in a state store, at least once: WordCount BOOTSTRAP APPLICATION IN OUT STATE_DIR TOTAL. Ends once TOTAL
// words were counted, and prints the store, a "word count" a line.

import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.InvalidStateStoreException;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", arguments[0], "application.id", arguments[1], "state.dir", arguments[4],
            "commit.interval.ms", "100", "statestore.cache.max.bytes", "0", "processing.guarantee", "at_least_once", "replication.factor", "1",
            "consumer.auto.offset.reset", "earliest", "consumer.session.timeout.ms", "10000"));
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[2], Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts"))
            .toStream().mapValues(String::valueOf)
            .to(arguments[3], Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        TreeMap<String, Long> counts = new TreeMap<>();
        while (System.nanoTime() < deadline && counts.values().stream().mapToLong(Long::longValue).sum() < Long.parseLong(arguments[5])) {
            Thread.sleep(100);
            try {
                ReadOnlyKeyValueStore<String, Long> store = streams.store(
                    StoreQueryParameters.fromNameAndType("counts", QueryableStoreTypes.keyValueStore()));
                try (var all = store.all()) {
                    all.forEachRemaining(entry -> counts.put(entry.key, entry.value));
                }
            } catch (InvalidStateStoreException early) {
                // The store is not there until the group has its assignment.
            }
        }
        counts.forEach((word, count) -> System.out.println(word + " " + count));
        streams.close(Duration.ofSeconds(20));
    }
}
