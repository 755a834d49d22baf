// Reads an events topic with the CloudEvents SDK's own deserializer, in a consumer group, and prints what it finds:
// ReadEvents HOST:PORT TOPIC COUNT
import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class ReadEvents {
    public static void main(String[] arguments) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", arguments[0], "group.id", "java-reader", "auto.offset.reset", "earliest",
            "enable.auto.commit", "false");
        var found = new TreeSet<String>();
        long until = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new CloudEventDeserializer())) {
            consumer.subscribe(List.of(arguments[1]));
            while (found.size() < Integer.parseInt(arguments[2])) {
                if (System.nanoTime() > until) throw new IllegalStateException("only " + found);
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    CloudEvent event = record.value();
                    // What the store writes for itself.
                    if (event.getType().startsWith("levada.")) continue;
                    var version = new String(record.headers().lastHeader("lv-ver").value(), StandardCharsets.UTF_8);
                    var data = new String(event.getData().toBytes(), StandardCharsets.UTF_8);
                    found.add(String.join(" ", record.key(), version, event.getId(), event.getType(),
                        event.getSource().toString(), event.getSubject(), event.getDataContentType(), data));
                }
            }
            consumer.commitSync();
        }
        found.forEach(System.out::println);
    }
}
