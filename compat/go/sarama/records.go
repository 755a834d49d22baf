package main

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"levada/compat/go/steps"
)

var codecs = map[string]sarama.CompressionCodec{
	"": sarama.CompressionNone, "none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func (d *driver) producer(step Step, transactionalID string) (sarama.SyncProducer, error) {
	config := config()
	producer := &config.Producer
	producer.Return.Successes = true
	producer.Partitioner = func(topic string) sarama.Partitioner { return byHand{sarama.NewHashPartitioner(topic)} }
	producer.Compression = codecs[step.Codec]
	producer.RequiredAcks = map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal}[step.Acks]
	if step.Acks == "" || step.Acks == "all" {
		producer.RequiredAcks = sarama.WaitForAll
	}
	if step.LingerMs != nil {
		producer.Flush.Frequency = time.Duration(*step.LingerMs) * time.Millisecond
	}
	if step.BatchBytes > 0 {
		producer.Flush.Bytes = int(step.BatchBytes)
	}
	if step.MaxRequestBytes > 0 {
		producer.MaxMessageBytes = int(step.MaxRequestBytes)
	}
	if step.Idempotent || transactionalID != "" {
		producer.Idempotent = true
		// Sarama's idempotent producer has one request in flight.
		config.Net.MaxOpenRequests = 1
		producer.Transaction.ID = transactionalID
	}
	return sarama.NewSyncProducer([]string{d.bootstrap}, config)
}

// byHand leaves records alone that already name their partition.
type byHand struct{ sarama.Partitioner }

func (p byHand) Partition(message *sarama.ProducerMessage, partitions int32) (int32, error) {
	if chosen, ok := message.Metadata.(int32); ok {
		return chosen, nil
	}
	return p.Partitioner.Partition(message, partitions)
}

func (d *driver) produce(run *Run, step Step, topic string) error {
	producer, err := d.producer(step, "")
	if err != nil {
		return err
	}
	return steps.FirstError(d.send(run, producer, step, topic), producer.Close())
}

func (d *driver) transaction(run *Run, step Step, topic string) error {
	producer, err := d.producer(step, run.Prefix+step.ID)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := steps.FirstError(producer.BeginTxn(), d.send(run, producer, step, topic)); err != nil {
		return err
	}
	if step.End == "commit" {
		return producer.CommitTxn()
	}
	return producer.AbortTxn()
}

func (d *driver) send(run *Run, producer sarama.SyncProducer, step Step, topic string) error {
	var messages []*sarama.ProducerMessage
	for _, wanted := range run.Wanted(step, topic) {
		message := &sarama.ProducerMessage{Topic: topic, Timestamp: wanted.Timestamp}
		// A nil Encoder is a null; an empty one is empty.
		if wanted.Key != nil {
			message.Key = sarama.ByteEncoder(wanted.Key)
		}
		if wanted.Value != nil {
			message.Value = sarama.ByteEncoder(wanted.Value)
		}
		if wanted.Partition != nil {
			message.Metadata = *wanted.Partition
		}
		for _, header := range wanted.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		messages = append(messages, message)
	}
	return producer.SendMessages(messages)
}

func (d *driver) consume(ctx context.Context, run *Run, step Step, topic string) (any, error) {
	config := config()
	if step.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if step.Group != "" {
		return d.consumeInGroup(ctx, run, step, topic)
	}
	consumer, err := sarama.NewConsumer([]string{d.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partitions, err := consumer.Partitions(topic)
	if err != nil {
		return nil, err
	}
	read := make(chan *sarama.ConsumerMessage, 100)
	for _, partition := range partitions {
		start := sarama.OffsetOldest
		switch from := step.From.(type) {
		case float64:
			if start, err = d.client.GetOffset(topic, partition, int64(from)); err != nil {
				return nil, err
			}
		case string:
			if from == "end" {
				start = sarama.OffsetNewest
			}
		}
		part, err := consumer.ConsumePartition(topic, partition, start)
		if err != nil {
			return nil, err
		}
		defer part.AsyncClose()
		go func() {
			for message := range part.Messages() {
				read <- message
			}
		}()
	}
	if step.Meanwhile != nil {
		if err := d.produce(run, Step{Records: step.Meanwhile}, topic); err != nil {
			return nil, err
		}
	}
	return step.Shown(gather(read, step.Count)), nil
}

// gather reads count records, and what more is there without waiting long.
func gather(read <-chan *sarama.ConsumerMessage, count int) []Record {
	var records []Record
	patience := time.After(steps.Patience)
	for len(records) < count {
		select {
		case message := <-read:
			records = append(records, shared(message))
		case <-patience:
			return records
		}
	}
	more := time.After(300 * time.Millisecond)
	for {
		select {
		case message := <-read:
			records = append(records, shared(message))
		case <-more:
			return records
		}
	}
}

func shared(message *sarama.ConsumerMessage) Record {
	record := Record{
		Partition: &message.Partition, Offset: message.Offset, Key: message.Key, Value: message.Value, Timestamp: message.Timestamp,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, steps.Header{Key: string(header.Key), Value: header.Value})
	}
	return record
}

func (d *driver) group(run *Run, step Step) (sarama.ConsumerGroup, error) {
	if step.Protocol != "classic" {
		return nil, steps.Skip("the client has only the classic protocol")
	}
	config := config()
	group := &config.Consumer.Group
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	group.Session.Timeout, group.Heartbeat.Interval = 10*time.Second, 500*time.Millisecond
	group.InstanceId = step.Instance
	group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	if step.Assignor == "cooperative" {
		group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	}
	return sarama.NewConsumerGroup([]string{d.bootstrap}, run.Prefix+step.Group, config)
}

// inGroup is what sarama calls while a member has partitions.
type inGroup struct {
	step   Step
	topic  string
	member *steps.Member // nil where a step reads by itself
	read   chan<- *sarama.ConsumerMessage
	lock   *sync.Mutex
	// The newest session, for commits from outside.
	session *sarama.ConsumerGroupSession
}

func (g inGroup) Setup(session sarama.ConsumerGroupSession) error {
	for partition, offset := range g.step.Seek {
		session.ResetOffset(g.topic, steps.Int32(partition), offset, "")
		session.MarkOffset(g.topic, steps.Int32(partition), offset, "")
	}
	g.lock.Lock()
	*g.session = session
	g.lock.Unlock()
	return nil
}

func (g inGroup) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (g inGroup) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	if g.member != nil {
		g.member.Assigned([]int32{claim.Partition()})
		defer g.member.Revoked([]int32{claim.Partition()})
	}
	for message := range claim.Messages() {
		if g.member == nil {
			select {
			case g.read <- message:
			case <-session.Context().Done():
				return nil
			}
			continue
		}
		session.MarkMessage(message, "")
		session.Commit()
		g.member.Read(message.Value)
	}
	return nil
}

func (d *driver) ReadAsMember(ctx context.Context, run *Run, member *steps.Member) error {
	group, err := d.group(run, member.Step)
	if err != nil {
		return err
	}
	defer group.Close()
	handler := inGroup{step: member.Step, topic: member.Topic, member: member, lock: &sync.Mutex{}, session: new(sarama.ConsumerGroupSession)}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{member.Topic}, handler); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) consumeInGroup(ctx context.Context, run *Run, step Step, topic string) (any, error) {
	group, err := d.group(run, step)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	reading, end := context.WithCancel(ctx)
	read := make(chan *sarama.ConsumerMessage, 100)
	handler := inGroup{step: step, topic: topic, read: read, lock: &sync.Mutex{}, session: new(sarama.ConsumerGroupSession)}
	done := make(chan error, 1)
	go func() {
		var err error
		for reading.Err() == nil && err == nil {
			err = group.Consume(reading, []string{topic}, handler)
		}
		done <- err
	}()
	records := gather(read, step.Count)
	handler.lock.Lock()
	session := *handler.session
	handler.lock.Unlock()
	if session != nil {
		switch {
		case step.CommitAt != nil:
			for partition, offset := range step.CommitAt {
				session.MarkOffset(topic, steps.Int32(partition), offset, "")
			}
			session.Commit()
		case step.Commit:
			for _, record := range records {
				session.MarkOffset(topic, *record.Partition, record.Offset+1, "")
			}
			session.Commit()
		}
	}
	end()
	if err := <-done; err != nil {
		return nil, err
	}
	return step.Shown(records), nil
}
