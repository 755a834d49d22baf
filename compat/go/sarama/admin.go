package main

import (
	"strconv"

	"github.com/IBM/sarama"

	"levada/compat/go/steps"
)

func (d *driver) describeCluster() (any, error) {
	brokers, controller, err := d.admin.DescribeCluster()
	if err != nil {
		return nil, err
	}
	isNode := false
	for _, broker := range brokers {
		isNode = isNode || broker.ID() == controller
	}
	return map[string]any{"nodes": len(brokers), "controller_is_node": isNode}, nil
}

func (d *driver) createTopic(step Step, topic string) error {
	configs := map[string]*string{}
	for name, value := range step.Configs {
		configs[name] = &value
	}
	return d.admin.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions: step.Partitions(), ReplicationFactor: -1, ConfigEntries: configs,
	}, false)
}

func (d *driver) describeTopic(topic string) (any, error) {
	topics, err := d.admin.DescribeTopics([]string{topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	leaders, replicas := true, 0
	for _, partition := range topics[0].Partitions {
		leaders = leaders && partition.Leader >= 0
		replicas = len(partition.Replicas)
	}
	return map[string]any{"partitions": len(topics[0].Partitions), "replicas": replicas, "leaders": leaders}, nil
}

var sources = map[sarama.ConfigSource]string{
	sarama.SourceTopic: "DYNAMIC_TOPIC_CONFIG", sarama.SourceStaticBroker: "STATIC_BROKER_CONFIG", sarama.SourceDefault: "DEFAULT_CONFIG",
}

func (d *driver) describeConfigs(step Step, topic string) (any, error) {
	entries, err := d.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: step.Names})
	shown := map[string]any{}
	for _, entry := range entries {
		shown[entry.Name] = []any{entry.Value, sources[entry.Source]}
	}
	return shown, err
}

func (d *driver) describeBrokerConfigs(step Step) (any, error) {
	broker, err := d.admin.Controller()
	if err != nil {
		return nil, err
	}
	entries, err := d.admin.DescribeConfig(sarama.ConfigResource{
		Type: sarama.BrokerResource, Name: strconv.Itoa(int(broker.ID())), ConfigNames: step.Names,
	})
	shown := map[string]any{}
	for _, entry := range entries {
		shown[entry.Name] = entry.Value
	}
	return shown, err
}

func changes(step Step) map[string]sarama.IncrementalAlterConfigsEntry {
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	add := func(operation sarama.IncrementalAlterConfigsOperation, values map[string]string) {
		for name, value := range values {
			changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: operation, Value: &value}
		}
	}
	add(sarama.IncrementalAlterConfigsOperationSet, step.Set)
	add(sarama.IncrementalAlterConfigsOperationAppend, step.Append)
	add(sarama.IncrementalAlterConfigsOperationSubtract, step.Subtract)
	for _, name := range step.Delete {
		changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationDelete}
	}
	return changes
}

func (d *driver) logDirs(topic string) (any, error) {
	broker, err := d.admin.Controller()
	if err != nil {
		return nil, err
	}
	all, err := d.admin.DescribeLogDirs([]int32{broker.ID()})
	if err != nil {
		return nil, err
	}
	dirs, partitions, allHaveSize := all[broker.ID()], 0, true
	for _, dir := range dirs {
		for _, found := range dir.Topics {
			if found.Topic != topic {
				continue
			}
			for _, partition := range found.Partitions {
				partitions++
				allHaveSize = allHaveSize && partition.Size > 0
			}
		}
	}
	return map[string]any{"dirs": len(dirs), "partitions": partitions, "all_have_size": allHaveSize}, nil
}

func (d *driver) listOffsets(step Step, topic string) (any, error) {
	at := sarama.OffsetNewest
	switch wanted := step.At.(type) {
	case float64:
		at = int64(wanted)
	case string:
		if wanted == "earliest" {
			at = sarama.OffsetOldest
		}
	}
	partitions, err := d.client.Partitions(topic)
	if err != nil {
		return nil, err
	}
	wanted := map[int32]int64{}
	for _, partition := range partitions {
		wanted[partition] = at
	}
	listed, err := d.admin.ListOffsets(map[string]map[int32]int64{topic: wanted}, nil)
	if err != nil {
		return nil, err
	}
	found := map[string]any{}
	for partition, result := range listed[topic] {
		// The client says that there was no error with an error that says so.
		if result.Err != nil && result.Err != sarama.ErrNoError {
			return nil, result.Err
		}
		found[strconv.Itoa(int(partition))] = result.Offset
	}
	return found, nil
}

func (d *driver) committed(group, topic string) (any, error) {
	response, err := d.admin.ListConsumerGroupOffsets(group, nil)
	found := map[string]any{}
	if err == sarama.ErrGroupIDNotFound {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	for partition, block := range response.Blocks[topic] {
		if block.Offset >= 0 {
			found[strconv.Itoa(int(partition))] = block.Offset
		}
	}
	return found, nil
}

func (d *driver) resetOffsets(step Step, group, topic string) error {
	offsets := map[int32]sarama.OffsetAndMetadata{}
	for partition, offset := range step.To {
		offsets[steps.Int32(partition)] = sarama.OffsetAndMetadata{Offset: offset, LeaderEpoch: -1}
	}
	response, err := d.admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: offsets}, nil)
	if err != nil {
		return err
	}
	for _, code := range response.Errors[topic] {
		if code != sarama.ErrNoError {
			return code
		}
	}
	return nil
}
