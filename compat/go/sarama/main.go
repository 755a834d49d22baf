// Carries out compat/scenarios.json with sarama. See compat/README.md.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"sort"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"levada/compat/go/steps"
)

type (
	Step   = steps.Step
	Run    = steps.Run
	Record = steps.Record
)

type driver struct {
	bootstrap string
	client    sarama.Client
	admin     sarama.ClusterAdmin
}

func main() {
	sarama.Logger = log.New(io.Discard, "", 0)
	steps.Main(func(bootstrap string) (steps.Client, error) {
		client, err := sarama.NewClient([]string{bootstrap}, config())
		if err != nil {
			return nil, err
		}
		admin, err := sarama.NewClusterAdminFromClient(client)
		return &driver{bootstrap: bootstrap, client: client, admin: admin}, err
	})
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	return config
}

func (d *driver) CarryOut(ctx context.Context, run *Run, step Step, topic string) (any, error) {
	group := run.Prefix + step.Group
	switch step.Do {
	case "describe_cluster":
		return d.describeCluster()
	case "create_topic":
		return nil, d.createTopic(step, topic)
	case "describe_topic":
		return d.describeTopic(topic)
	case "list_topics":
		topics, err := d.admin.ListTopics()
		return own(topics, run.Prefix), err
	case "delete_topic":
		return nil, d.admin.DeleteTopic(topic)
	case "create_partitions":
		return nil, d.admin.CreatePartitions(topic, step.Partitions(), nil, false)
	case "produce":
		return nil, d.produce(run, step, topic)
	case "transaction":
		return nil, d.transaction(run, step, topic)
	case "consume":
		return d.consume(ctx, run, step, topic)
	case "list_offsets":
		return d.listOffsets(step, topic)
	case "delete_records":
		offsets := map[int32]int64{}
		for partition, offset := range step.Before {
			offsets[steps.Int32(partition)] = offset
		}
		return nil, d.admin.DeleteRecords(topic, offsets)
	case "describe_configs":
		return d.describeConfigs(step, topic)
	case "alter_configs":
		return nil, d.admin.IncrementalAlterConfig(sarama.TopicResource, topic, changes(step), false)
	case "describe_broker_configs":
		return d.describeBrokerConfigs(step)
	case "alter_broker_configs":
		broker, err := d.admin.Controller()
		if err != nil {
			return nil, err
		}
		return nil, d.admin.IncrementalAlterConfig(sarama.BrokerResource, strconv.Itoa(int(broker.ID())), changes(step), false)
	case "log_dirs":
		return d.logDirs(topic)
	case "committed":
		return d.committed(group, topic)
	case "reset_offsets":
		return nil, d.resetOffsets(step, group, topic)
	case "delete_offsets":
		for _, partition := range step.Which() {
			if err := d.admin.DeleteConsumerGroupOffset(group, topic, partition); err != nil {
				return nil, err
			}
		}
		return nil, nil
	case "list_groups":
		groups, err := d.admin.ListConsumerGroups()
		return own(groups, run.Prefix), err
	case "describe_group":
		groups, err := d.admin.DescribeConsumerGroups([]string{group})
		if err != nil {
			return nil, err
		}
		return strings.ToUpper(groups[0].State), nil
	case "delete_group":
		return nil, d.admin.DeleteConsumerGroup(group)
	}
	return nil, steps.NoCall(step)
}

// own are this scenario's names, as it calls them.
func own[T any](all map[string]T, prefix string) []string {
	names := []string{}
	for name := range all {
		if strings.HasPrefix(name, prefix) {
			names = append(names, strings.TrimPrefix(name, prefix))
		}
	}
	sort.Strings(names)
	return names
}

// The protocol's names of the errors that the scenarios expect.
var errorNames = map[sarama.KError]string{
	sarama.ErrTopicAlreadyExists: "TOPIC_ALREADY_EXISTS", sarama.ErrInvalidTopic: "INVALID_TOPIC_EXCEPTION",
	sarama.ErrInvalidConfig: "INVALID_CONFIG", sarama.ErrUnknownTopicOrPartition: "UNKNOWN_TOPIC_OR_PARTITION",
	sarama.ErrMessageSizeTooLarge: "MESSAGE_TOO_LARGE", sarama.ErrInvalidPartitions: "INVALID_PARTITIONS",
	sarama.ErrOffsetOutOfRange: "OFFSET_OUT_OF_RANGE", sarama.ErrInvalidRecord: "INVALID_RECORD",
	sarama.ErrNonEmptyGroup: "NON_EMPTY_GROUP", sarama.ErrGroupIDNotFound: "GROUP_ID_NOT_FOUND",
	sarama.ErrInvalidRequest: "INVALID_REQUEST",
}

func (d *driver) ErrorName(err error) string {
	var known sarama.KError
	var ofTopic *sarama.TopicError
	var ofPartition *sarama.TopicPartitionError
	var ofRecords sarama.ProducerErrors
	switch {
	case errors.As(err, &ofTopic):
		known = ofTopic.Err
	case errors.As(err, &ofPartition):
		known = ofPartition.Err
	case errors.As(err, &ofRecords):
		return d.ErrorName(ofRecords[0].Err)
	default:
		errors.As(err, &known)
	}
	if name := errorNames[known]; name != "" {
		return name
	}
	return "error"
}
