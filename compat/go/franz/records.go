package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"levada/compat/go/steps"
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

func (d *driver) produce(ctx context.Context, run *Run, step Step, topic string) error {
	producer, err := d.producer(step)
	if err != nil {
		return err
	}
	defer producer.Close()
	return d.send(ctx, run, producer, step, topic)
}

func (d *driver) transaction(ctx context.Context, run *Run, step Step, topic string) error {
	producer, err := d.producer(step, kgo.TransactionalID(run.Prefix+step.ID))
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.BeginTransaction(); err != nil {
		return err
	}
	if err := d.send(ctx, run, producer, step, topic); err != nil {
		return err
	}
	return producer.EndTransaction(ctx, kgo.TransactionEndTry(step.End == "commit"))
}

func (d *driver) send(ctx context.Context, run *Run, producer *kgo.Client, step Step, topic string) error {
	chosen := context.WithValue(ctx, byHand{}, true)
	var records []*kgo.Record
	for _, wanted := range run.Wanted(step, topic) {
		record := &kgo.Record{Topic: topic, Key: wanted.Key, Value: wanted.Value, Timestamp: wanted.Timestamp}
		if wanted.Partition != nil {
			record.Partition, record.Context = *wanted.Partition, chosen
		}
		for _, header := range wanted.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		records = append(records, record)
	}
	// The scenarios ask for records above the client's own limit on a batch to see the broker refuse them.
	return producer.ProduceSync(ctx, records...).FirstErr()
}

// inGroup are the options of a group's member.
func (d *driver) inGroup(run *Run, step Step) []kgo.Opt {
	options := []kgo.Opt{kgo.ConsumerGroup(run.Prefix + step.Group), kgo.DisableAutoCommit()}
	switch {
	case step.Protocol == "consumer":
		options = append(options, kgo.ServerSideBalancer())
	case step.Assignor == "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	default:
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	if step.Protocol == "classic" {
		options = append(options, kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	}
	if step.Instance != "" {
		options = append(options, kgo.InstanceID(step.Instance))
	}
	return options
}

func (d *driver) ReadAsMember(ctx context.Context, run *Run, member *steps.Member) error {
	topic := member.Topic
	revoked := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { member.Revoked(lost[topic]) }
	options := append(d.inGroup(run, member.Step),
		kgo.SeedBrokers(d.bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) { member.Assigned(added[topic]) }),
		kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked),
	)
	consumer, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer consumer.CloseAllowingRebalance()
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := consumer.PollFetches(polling)
		cancel()
		for _, failed := range fetches.Errors() {
			if polling.Err() == nil {
				return failed.Err
			}
		}
		if records := fetches.Records(); len(records) > 0 {
			if err := consumer.CommitRecords(context.Background(), records...); err != nil {
				return err
			}
			for _, record := range records {
				member.Read(record.Value)
			}
		}
		consumer.AllowRebalance()
	}
	return nil
}

func (d *driver) consume(ctx context.Context, run *Run, step Step, topic string) (any, error) {
	options := []kgo.Opt{kgo.SeedBrokers(d.bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if step.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if step.Group != "" {
		options = append(options, d.inGroup(run, step)...)
	}
	if step.Seek != nil {
		options = append(options, kgo.AdjustFetchOffsetsFn(
			func(_ context.Context, found map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
				for partition, offset := range step.Seek {
					found[topic][steps.Int32(partition)] = kgo.NewOffset().At(offset)
				}
				return found, nil
			}))
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
		if err := d.produce(ctx, run, Step{Records: step.Meanwhile}, topic); err != nil {
			return nil, err
		}
	}
	records, err := poll(ctx, consumer, step.Count)
	if err != nil {
		return nil, err
	}
	if step.CommitAt != nil {
		if err := commitAt(ctx, consumer, topic, step.CommitAt); err != nil {
			return nil, err
		}
	} else if step.Commit {
		if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
			return nil, err
		}
	}
	return step.Shown(shared(records)), nil
}

func commitAt(ctx context.Context, consumer *kgo.Client, topic string, byPartition map[string]int64) error {
	offsets := map[int32]kgo.EpochOffset{}
	for partition, offset := range byPartition {
		offsets[steps.Int32(partition)] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	var failed error
	consumer.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if err == nil {
				failed = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
			}
		})
	return failed
}

// poll reads count records, and what more is there without waiting long.
func poll(ctx context.Context, consumer *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	deadline := time.Now().Add(steps.Patience)
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

func (d *driver) shareConsume(ctx context.Context, step Step, group, topic string) (any, error) {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(d.bootstrap), kgo.ConsumeTopics(topic), kgo.ShareGroup(group))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records, err := poll(ctx, consumer, step.Count)
	if err != nil {
		return nil, err
	}
	return step.Shown(shared(records)), nil
}

func shared(records []*kgo.Record) []Record {
	var all []Record
	for _, record := range records {
		one := Record{
			Partition: &record.Partition, Offset: record.Offset, Key: record.Key, Value: record.Value, Timestamp: record.Timestamp,
		}
		for _, header := range record.Headers {
			one.Headers = append(one.Headers, steps.Header{Key: header.Key, Value: header.Value})
		}
		all = append(all, one)
	}
	return all
}
