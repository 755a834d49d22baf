// Carries out compat/scenarios.json with franz-go. See compat/README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 20 * time.Second

// A Scenario and its Steps, as the file has them.
type Scenario struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

type Step struct {
	Do         string            `json:"do"`
	Topic      *string           `json:"topic"`
	Error      string            `json:"error"`
	Until      json.RawMessage   `json:"until"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`

	Acks            string            `json:"acks"`
	Codec           string            `json:"codec"`
	Idempotent      bool              `json:"idempotent"`
	LingerMs        *int              `json:"linger_ms"`
	BatchBytes      int32             `json:"batch_bytes"`
	MaxRequestBytes int32             `json:"max_request_bytes"`
	Records         [][]any           `json:"records"`
	Timestamps      json.RawMessage   `json:"timestamps"`
	Generate        *Generate         `json:"generate"`
	ID              string            `json:"id"`
	End             string            `json:"end"`
	Count           int               `json:"count"`
	Summary         bool              `json:"summary"`
	From            any               `json:"from"`
	Meanwhile       [][]any           `json:"produce_meanwhile"`
	Isolation       string            `json:"isolation"`
	Group           string            `json:"group"`
	Protocol        string            `json:"protocol"`
	Commit          bool              `json:"commit"`
	At              any               `json:"at"`
	Before          map[string]int64  `json:"before"`
	Names           []string          `json:"names"`
	Set             map[string]string `json:"set"`
	Append          map[string]string `json:"append"`
	Subtract        map[string]string `json:"subtract"`
	Delete          []string          `json:"delete"`
}

type Generate struct {
	Count      int    `json:"count"`
	ValueBytes int    `json:"value_bytes"`
	Partition  *int32 `json:"partition"`
	Keys       int    `json:"keys"`
}

// A Report is one line of output.
type Report struct {
	Scenario string `json:"scenario"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason,omitempty"`
	Observed []any  `json:"observed"`
}

// errSkip says that this client cannot do a step.
var errSkip = errors.New("the client has no call for this")

type driver struct {
	bootstrap string
	client    *kgo.Client
	admin     *kadm.Client
	prefix    string
	// The number of the next generated record, by topic.
	generated map[string]int
}

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]))
	check(err)
	var scenarios []Scenario
	check(json.NewDecoder(os.Stdin).Decode(&scenarios))
	d := &driver{bootstrap: os.Args[1], client: client, admin: kadm.NewClient(client)}
	for number, scenario := range scenarios {
		d.prefix = fmt.Sprintf("%s-%d-", os.Args[2], number)
		d.generated = map[string]int{}
		line, err := json.Marshal(d.run(scenario))
		check(err)
		fmt.Println(string(line))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (d *driver) run(scenario Scenario) Report {
	report := Report{Scenario: scenario.Name, Observed: []any{}}
	for number, step := range scenario.Steps {
		where := fmt.Sprintf("step %d (%s): ", number+1, step.Do)
		seen, err := d.untilSeen(step)
		switch {
		case errors.Is(err, errSkip):
			report.Outcome, report.Reason = "skip", fmt.Sprintf("%v: %s", err, step.Do)
			return report
		case err != nil && errorName(err) == step.Error:
			seen = step.Error
		case err != nil:
			report.Outcome, report.Reason = "failed", where+errorName(err)+": "+err.Error()
			return report
		case step.Error != "":
			report.Outcome, report.Reason = "failed", where+"no "+step.Error
			return report
		}
		report.Observed = append(report.Observed, seen)
	}
	report.Outcome = "ok"
	return report
}

// untilSeen does one step; one with "until" again and again, until that is seen or patience ends.
func (d *driver) untilSeen(step Step) (any, error) {
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience+5*time.Second)
		seen, err := d.carryOut(ctx, step)
		cancel()
		if err != nil || step.Until == nil || same(step.Until, seen) || time.Now().After(deadline) {
			return seen, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func same(wanted json.RawMessage, seen any) bool {
	var a, b any
	text, err := json.Marshal(seen)
	check(err)
	check(json.Unmarshal(wanted, &a))
	check(json.Unmarshal(text, &b))
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func (d *driver) carryOut(ctx context.Context, step Step) (any, error) {
	topic := ""
	if step.Topic != nil {
		topic = d.prefix + *step.Topic
	}
	switch step.Do {
	case "describe_cluster":
		return d.describeCluster(ctx)
	case "create_topic":
		return nil, d.createTopic(ctx, step, topic)
	case "describe_topic":
		return d.describeTopic(ctx, topic)
	case "list_topics":
		return d.listTopics(ctx)
	case "delete_topic":
		response, err := d.admin.DeleteTopic(ctx, topic)
		return nil, first(err, response.Err)
	case "create_partitions":
		responses, err := d.admin.UpdatePartitions(ctx, int(step.Partitions), topic)
		return nil, first(err, responses.Error())
	case "produce":
		return nil, d.produce(ctx, step, topic)
	case "transaction":
		return nil, d.transaction(ctx, step, topic)
	case "consume":
		return d.consume(ctx, step, topic)
	case "list_offsets":
		return d.listOffsets(ctx, step, topic)
	case "delete_records":
		return nil, d.deleteRecords(ctx, step, topic)
	case "describe_configs":
		return d.describeConfigs(ctx, step, topic)
	case "alter_configs":
		return nil, d.alterConfigs(ctx, step, topic)
	case "committed":
		return d.committed(ctx, step, topic)
	case "describe_group":
		return d.describeGroup(ctx, step)
	case "delete_group":
		response, err := d.admin.DeleteGroup(ctx, d.prefix+step.Group)
		return nil, first(err, response.Err)
	case "share_group_from_beginning":
		return nil, d.shareGroupFromBeginning(ctx, step)
	case "share_consume":
		return d.shareConsume(ctx, step, topic)
	}
	return nil, errSkip
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// errorName is the protocol's name of an error, as the scenarios write it.
func errorName(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return "error"
}
