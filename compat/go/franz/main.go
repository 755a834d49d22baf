// Carries out compat/scenarios.json with franz-go. See compat/README.md.
package main

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"levada/compat/go/steps"
)

type (
	Step   = steps.Step
	Run    = steps.Run
	Record = steps.Record
)

var first = steps.FirstError

type driver struct {
	bootstrap string
	client    *kgo.Client
	admin     *kadm.Client
}

func main() {
	steps.Main(func(bootstrap string) (steps.Client, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
		if err != nil {
			return nil, err
		}
		return &driver{bootstrap: bootstrap, client: client, admin: kadm.NewClient(client)}, nil
	})
}

func (d *driver) CarryOut(ctx context.Context, run *Run, step Step, topic string) (any, error) {
	group := run.Prefix + step.Group
	switch step.Do {
	case "describe_cluster":
		return d.describeCluster(ctx)
	case "create_topic":
		return nil, d.createTopic(ctx, step, topic)
	case "describe_topic":
		return d.describeTopic(ctx, topic)
	case "list_topics":
		return d.listTopics(ctx, run.Prefix)
	case "delete_topic":
		response, err := d.admin.DeleteTopic(ctx, topic)
		return nil, first(err, response.Err)
	case "create_partitions":
		responses, err := d.admin.UpdatePartitions(ctx, int(step.Partitions()), topic)
		return nil, first(err, responses.Error())
	case "produce":
		return nil, d.produce(ctx, run, step, topic)
	case "transaction":
		return nil, d.transaction(ctx, run, step, topic)
	case "consume":
		return d.consume(ctx, run, step, topic)
	case "list_offsets":
		return d.listOffsets(ctx, step, topic)
	case "delete_records":
		return nil, d.deleteRecords(ctx, step, topic)
	case "describe_configs":
		return d.describeConfigs(ctx, step, topic)
	case "alter_configs":
		return nil, d.alterConfigs(ctx, step, topic)
	case "describe_broker_configs":
		return d.describeBrokerConfigs(ctx, step)
	case "alter_broker_configs":
		return nil, d.alterBrokerConfigs(ctx, step)
	case "log_dirs":
		return d.logDirs(ctx, topic)
	case "committed":
		return d.committed(ctx, group, topic)
	case "reset_offsets":
		return nil, d.admin.CommitAllOffsets(ctx, group, offsets(topic, step.To))
	case "delete_offsets":
		responses, err := d.admin.DeleteOffsets(ctx, group, topicsSet(topic, step.Which()))
		return nil, first(err, responses.Error())
	case "list_groups":
		return d.listGroups(ctx, run.Prefix)
	case "describe_group":
		return d.describeGroup(ctx, group)
	case "delete_group":
		response, err := d.admin.DeleteGroup(ctx, group)
		return nil, first(err, response.Err)
	case "share_group_from_beginning":
		return nil, d.shareGroupFromBeginning(ctx, group)
	case "share_consume":
		return d.shareConsume(ctx, step, group, topic)
	}
	return nil, steps.NoCall(step)
}

func (d *driver) ErrorName(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return "error"
}
