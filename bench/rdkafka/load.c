/* Load through librdkafka, as an application would make it. Built by bench/run.
 *
 *   load produce BROKERS TOPIC PARTITIONS PRODUCERS RECORDS BYTES BATCH_BYTES
 *   load consume BROKERS TOPIC PARTITIONS RECORDS
 *
 * Prints one line: records seconds errors.
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *brokers, *topic_name, *batch_bytes;
static int partitions, record_bytes;
static long records_each;
static long errors;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk;
    (void)opaque;
    if (message->err)
        __sync_fetch_and_add(&errors, 1);
}

static void *produce(void *number) {
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "acks", "all");
    set(conf, "linger.ms", "5");
    set(conf, "batch.size", batch_bytes);
    set(conf, "queue.buffering.max.kbytes", "65536");
    set(conf, "queue.buffering.max.messages", "500000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    rd_kafka_topic_t *topic = rk ? rd_kafka_topic_new(rk, topic_name, NULL) : NULL;
    if (!topic) {
        fprintf(stderr, "cannot make a producer\n");
        exit(2);
    }
    char *value = malloc(record_bytes);
    for (int i = 0; i < record_bytes; i++)
        value[i] = (char)(i * 31 + (long)number);
    for (long i = 0; i < records_each; i++) {
        while (rd_kafka_produce(topic, (int)(i % partitions), RD_KAFKA_MSG_F_COPY, value, record_bytes, NULL, 0, NULL) < 0)
            rd_kafka_poll(rk, 10);
        if (i % 256 == 0)
            rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 120000))
        __sync_fetch_and_add(&errors, 1);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    free(value);
    return NULL;
}

static long consume(long records) {
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "fetch.wait.max.ms", "100");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!rk)
        exit(2);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic_name, i)->offset = 0;
    rd_kafka_assign(rk, list);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_message_t *got[1000];
    long seen = 0;
    double until = now() + 120;
    while (seen < records && now() < until) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 1000, got, 1000);
        for (ssize_t i = 0; i < count; i++) {
            if (got[i]->err)
                errors++;
            else
                seen++;
            rd_kafka_message_destroy(got[i]);
        }
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return seen;
}

int main(int argc, char **argv) {
    if (argc < 6)
        return 2;
    brokers = argv[2];
    topic_name = argv[3];
    partitions = atoi(argv[4]);
    double began = now();
    if (!strcmp(argv[1], "consume")) {
        long seen = consume(atol(argv[5]));
        printf("%ld %.4f %ld\n", seen, now() - began, errors);
        return 0;
    }
    if (argc < 9)
        return 2;
    long producers = atol(argv[5]);
    records_each = atol(argv[6]) / producers;
    record_bytes = atoi(argv[7]);
    batch_bytes = argv[8];
    pthread_t threads[64];
    for (long i = 0; i < producers && i < 64; i++)
        pthread_create(&threads[i], NULL, produce, (void *)i);
    for (long i = 0; i < producers && i < 64; i++)
        pthread_join(threads[i], NULL);
    printf("%ld %.4f %ld\n", records_each * producers, now() - began, errors);
    return 0;
}
