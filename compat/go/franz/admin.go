package main

import (
	"context"
	"sort"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"levada/compat/go/steps"
)

func (d *driver) describeCluster(ctx context.Context) (any, error) {
	metadata, err := d.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	isNode := false
	for _, broker := range metadata.Brokers {
		isNode = isNode || broker.NodeID == metadata.Controller
	}
	return map[string]any{
		"nodes": len(metadata.Brokers), "controller_is_node": isNode, "has_cluster_id": metadata.Cluster != "",
	}, nil
}

func (d *driver) createTopic(ctx context.Context, step Step, topic string) error {
	configs := map[string]*string{}
	for name, value := range step.Configs {
		configs[name] = &value
	}
	response, err := d.admin.CreateTopic(ctx, step.Partitions(), -1, configs, topic)
	return first(response.Err, err)
}

func (d *driver) describeTopic(ctx context.Context, topic string) (any, error) {
	topics, err := d.admin.ListTopics(ctx, topic)
	if err = first(err, topics.Error()); err != nil {
		return nil, err
	}
	partitions, leaders, replicas := topics[topic].Partitions, true, 0
	for _, partition := range partitions {
		leaders = leaders && partition.Leader >= 0
		replicas = len(partition.Replicas)
	}
	return map[string]any{"partitions": len(partitions), "replicas": replicas, "leaders": leaders}, nil
}

func (d *driver) listTopics(ctx context.Context, prefix string) (any, error) {
	topics, err := d.admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	return own(topics.Names(), prefix), nil
}

func (d *driver) listGroups(ctx context.Context, prefix string) (any, error) {
	groups, err := d.admin.ListGroups(ctx)
	if err != nil {
		return nil, err
	}
	return own(groups.Groups(), prefix), nil
}

// own are this scenario's names, as it calls them.
func own(all []string, prefix string) []string {
	names := []string{}
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			names = append(names, strings.TrimPrefix(name, prefix))
		}
	}
	sort.Strings(names)
	return names
}

func (d *driver) logDirs(ctx context.Context, topic string) (any, error) {
	dirs, err := d.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, err
	}
	count, partitions, allHaveSize := 0, 0, true
	dirs.Each(func(dir kadm.DescribedLogDir) {
		count++
		dir.Topics.Each(func(partition kadm.DescribedLogDirPartition) {
			if partition.Topic == topic {
				partitions++
				allHaveSize = allHaveSize && partition.Size > 0
			}
		})
	})
	return map[string]any{"dirs": count, "partitions": partitions, "all_have_size": allHaveSize}, nil
}

func (d *driver) describeBrokerConfigs(ctx context.Context, step Step) (any, error) {
	metadata, err := d.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	resources, err := d.admin.DescribeBrokerConfigs(ctx, metadata.Controller)
	if err != nil {
		return nil, err
	}
	shown := map[string]any{}
	for _, config := range resources[0].Configs {
		for _, name := range step.Names {
			if config.Key == name {
				shown[name] = config.Value
			}
		}
	}
	return shown, resources[0].Err
}

func (d *driver) alterBrokerConfigs(ctx context.Context, step Step) error {
	metadata, err := d.admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	responses, err := d.admin.AlterBrokerConfigs(ctx, changes(step), metadata.Controller)
	if err != nil {
		return err
	}
	return responses[0].Err
}

func offsets(topic string, byPartition map[string]int64) kadm.Offsets {
	offsets := kadm.Offsets{}
	for partition, offset := range byPartition {
		offsets.AddOffset(topic, steps.Int32(partition), offset, -1)
	}
	return offsets
}

func topicsSet(topic string, partitions []int32) kadm.TopicsSet {
	set := kadm.TopicsSet{}
	set.Add(topic, partitions...)
	return set
}

func (d *driver) describeConfigs(ctx context.Context, step Step, topic string) (any, error) {
	resources, err := d.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	resource, err := resources.On(topic, nil)
	if err = first(err, resource.Err); err != nil {
		return nil, err
	}
	shown := map[string]any{}
	for _, config := range resource.Configs {
		for _, name := range step.Names {
			if config.Key == name {
				shown[name] = []any{config.Value, config.Source.String()}
			}
		}
	}
	return shown, nil
}

func changes(step Step) []kadm.AlterConfig {
	var changes []kadm.AlterConfig
	add := func(op kadm.IncrementalOp, values map[string]string) {
		for name, value := range values {
			changes = append(changes, kadm.AlterConfig{Op: op, Name: name, Value: &value})
		}
	}
	add(kadm.SetConfig, step.Set)
	add(kadm.AppendConfig, step.Append)
	add(kadm.SubtractConfig, step.Subtract)
	for _, name := range step.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	return changes
}

func (d *driver) alterConfigs(ctx context.Context, step Step, topic string) error {
	responses, err := d.admin.AlterTopicConfigs(ctx, changes(step), topic)
	if err != nil {
		return err
	}
	response, err := responses.On(topic, nil)
	return first(err, response.Err)
}

func (d *driver) listOffsets(ctx context.Context, step Step, topic string) (any, error) {
	var listed kadm.ListedOffsets
	var err error
	switch at := step.At.(type) {
	case float64:
		listed, err = d.admin.ListOffsetsAfterMilli(ctx, int64(at), topic)
	default:
		if at == "earliest" {
			listed, err = d.admin.ListStartOffsets(ctx, topic)
		} else {
			listed, err = d.admin.ListEndOffsets(ctx, topic)
		}
	}
	if err = first(err, listed.Error()); err != nil {
		return nil, err
	}
	found := map[string]any{}
	listed.Each(func(offset kadm.ListedOffset) { found[strconv.Itoa(int(offset.Partition))] = offset.Offset })
	return found, nil
}

func (d *driver) deleteRecords(ctx context.Context, step Step, topic string) error {
	responses, err := d.admin.DeleteRecords(ctx, offsets(topic, step.Before))
	return first(err, responses.Error())
}

func (d *driver) committed(ctx context.Context, group, topic string) (any, error) {
	found := map[string]any{}
	offsets, err := d.admin.FetchOffsets(ctx, group)
	if err != nil {
		if d.ErrorName(err) == kerr.GroupIDNotFound.Message {
			return found, nil
		}
		return nil, err
	}
	offsets.Each(func(offset kadm.OffsetResponse) {
		if offset.Topic == topic && offset.At >= 0 {
			found[strconv.Itoa(int(offset.Partition))] = offset.At
		}
	})
	return found, nil
}

func (d *driver) describeGroup(ctx context.Context, group string) (any, error) {
	groups, err := d.admin.DescribeGroups(ctx, group)
	if err = first(err, groups.Error()); err != nil {
		return nil, err
	}
	return strings.ToUpper(groups[group].State), nil
}

func (d *driver) shareGroupFromBeginning(ctx context.Context, group string) error {
	const resourceType = 32 // KIP-932's resource type
	value := "earliest"
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "share.auto.offset.reset", &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = resourceType, group
	resource.Configs = append(resource.Configs, config)
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, d.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.Resources[0].ErrorCode)
}
