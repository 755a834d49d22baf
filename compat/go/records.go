package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (d *driver) producer(step Step, more ...kgo.Opt) (*kgo.Client, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(d.bootstrap), kgo.ProducerBatchCompression(codecs[step.Codec]),
		kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(byHand{kgo.StickyKeyPartitioner(nil)}),
	}
	switch step.Acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	default:
		if !step.Idempotent && len(more) == 0 {
			options = append(options, kgo.DisableIdempotentWrite())
		}
	}
	if step.LingerMs != nil {
		options = append(options, kgo.ProducerLinger(time.Duration(*step.LingerMs)*time.Millisecond))
	}
	batch := max(step.BatchBytes, step.MaxRequestBytes)
	if batch > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(batch))
	}
	return kgo.NewClient(append(options, more...)...)
}

// byHand leaves records alone that already name their partition.
type byHand struct{ kgo.Partitioner }

type byHandTopic struct{ kgo.TopicPartitioner }

func (p byHand) ForTopic(topic string) kgo.TopicPartitioner {
	return byHandTopic{p.Partitioner.ForTopic(topic)}
}

func (p byHandTopic) Partition(record *kgo.Record, partitions int) int {
	if record.Context != nil && record.Context.Value(byHand{}) != nil {
		return int(record.Partition)
	}
	return p.TopicPartitioner.Partition(record, partitions)
}

func (p byHandTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (d *driver) produce(ctx context.Context, step Step, topic string) error {
	producer, err := d.producer(step)
	if err != nil {
		return err
	}
	defer producer.Close()
	return d.send(ctx, producer, step, topic)
}

func (d *driver) transaction(ctx context.Context, step Step, topic string) error {
	producer, err := d.producer(step, kgo.TransactionalID(d.prefix+step.ID))
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.BeginTransaction(); err != nil {
		return err
	}
	if err := d.send(ctx, producer, step, topic); err != nil {
		return err
	}
	return producer.EndTransaction(ctx, kgo.TransactionEndTry(step.End == "commit"))
}

func (d *driver) send(ctx context.Context, producer *kgo.Client, step Step, topic string) error {
	chosen := context.WithValue(ctx, byHand{}, true)
	var timestamps []int64
	if step.Timestamps != nil {
		check(json.Unmarshal(step.Timestamps, &timestamps))
	}
	var records []*kgo.Record
	for number, fields := range step.Records {
		record := &kgo.Record{
			Topic: topic, Partition: int32(fields[0].(float64)), Key: encoded(fields[1]), Value: encoded(fields[2]), Context: chosen,
		}
		for _, header := range fields[3:] {
			pair := header.([]any)
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: pair[0].(string), Value: encoded(pair[1])})
		}
		if timestamps != nil {
			record.Timestamp = time.UnixMilli(timestamps[number])
		}
		records = append(records, record)
	}
	if generate := step.Generate; generate != nil {
		for range generate.Count {
			number := d.generated[topic]
			d.generated[topic]++
			value := bytes.Repeat([]byte{'.'}, generate.ValueBytes)
			copy(value, strconv.Itoa(number))
			record := &kgo.Record{Topic: topic, Value: value}
			if generate.Keys > 0 {
				record.Key = []byte(fmt.Sprintf("k%d", number%generate.Keys))
			}
			if generate.Partition != nil {
				record.Partition, record.Context = *generate.Partition, chosen
			}
			records = append(records, record)
		}
	}
	// The scenarios ask for records above the client's own limit on a batch to see the broker refuse them.
	return producer.ProduceSync(ctx, records...).FirstErr()
}

func encoded(value any) []byte {
	if value == nil {
		return nil
	}
	return []byte(value.(string))
}

func text(value []byte) any {
	if value == nil {
		return nil
	}
	return string(value)
}

func (d *driver) consume(ctx context.Context, step Step, topic string) (any, error) {
	options := []kgo.Opt{kgo.SeedBrokers(d.bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if step.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if step.Group != "" {
		options = append(options, kgo.ConsumerGroup(d.prefix+step.Group), kgo.DisableAutoCommit())
		if step.Protocol == "consumer" {
			options = append(options, kgo.ServerSideBalancer())
		}
	}
	switch from := step.From.(type) {
	case float64:
		options = append(options, kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(int64(from))))
	case string:
		if from == "end" {
			// The end as it is now, so that what is produced after this line is read.
			ends, err := d.admin.ListEndOffsets(ctx, topic)
			if err = first(err, ends.Error()); err != nil {
				return nil, err
			}
			options = append(options[:1], kgo.ConsumePartitions(ends.KOffsets()))
		}
	}
	consumer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	if step.Meanwhile != nil {
		if err := d.produce(ctx, Step{Records: step.Meanwhile}, topic); err != nil {
			return nil, err
		}
	}
	records, err := poll(ctx, consumer, step.Count)
	if err != nil {
		return nil, err
	}
	if step.Commit {
		if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
			return nil, err
		}
	}
	return d.report(step, records), nil
}

// poll reads count records, and what more is there without waiting long.
func poll(ctx context.Context, consumer *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	deadline := time.Now().Add(patience)
	for {
		wait := 300 * time.Millisecond
		last := len(records) >= count || time.Now().After(deadline)
		polling, cancel := context.WithTimeout(ctx, wait)
		fetches := consumer.PollFetches(polling)
		cancel()
		for _, failed := range fetches.Errors() {
			if failed.Err != context.DeadlineExceeded {
				return nil, failed.Err
			}
		}
		records = append(records, fetches.Records()...)
		if last {
			return records, nil
		}
	}
}

func (d *driver) shareConsume(ctx context.Context, step Step, topic string) (any, error) {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(d.bootstrap), kgo.ConsumeTopics(topic), kgo.ShareGroup(d.prefix+step.Group))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records, err := poll(ctx, consumer, step.Count)
	if err != nil {
		return nil, err
	}
	return d.report(step, records), nil
}

func (d *driver) report(step Step, records []*kgo.Record) any {
	sort.SliceStable(records, func(i, j int) bool {
		a, b := records[i], records[j]
		return a.Partition < b.Partition || a.Partition == b.Partition && a.Offset < b.Offset
	})
	if step.Summary {
		return summary(records)
	}
	lines := []any{}
	for _, record := range records {
		line := []any{record.Partition, record.Offset, text(record.Key), text(record.Value)}
		for _, header := range record.Headers {
			line = append(line, []any{header.Key, text(header.Value)})
		}
		switch string(step.Timestamps) {
		case "true":
			line = append(line, record.Timestamp.UnixMilli())
		case `"recent"`:
			if time.Since(record.Timestamp).Abs() < time.Minute {
				line = append(line, "recent")
			} else {
				line = append(line, "not recent")
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func summary(records []*kgo.Record) any {
	size, inOrder, byPartition := 0, true, map[string]int{}
	for i, record := range records {
		size += len(record.Value)
		byPartition[strconv.Itoa(int(record.Partition))]++
		if i > 0 && records[i-1].Partition == record.Partition {
			inOrder = inOrder && numberOf(records[i-1]) < numberOf(record)
		}
	}
	firstOffset, lastOffset := int64(-1), int64(-1)
	if len(records) > 0 {
		firstOffset, lastOffset = records[0].Offset, records[len(records)-1].Offset
	}
	return map[string]any{
		"records": len(records), "value_bytes": size, "in_order": inOrder, "first": firstOffset, "last": lastOffset,
		"by_partition": byPartition,
	}
}

func numberOf(record *kgo.Record) int {
	number, err := strconv.Atoi(strings.TrimRight(string(record.Value), "."))
	check(err)
	return number
}
