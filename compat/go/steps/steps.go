// Package steps is what the drivers in Go share: the scenarios' loop, members of groups, and how what was seen is
// written down.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// Patience is how long a step may wait for what it should show.
const Patience = 20 * time.Second

// A Scenario and its Steps, as the file has them.
type Scenario struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

type Step struct {
	Do      string            `json:"do"`
	Topic   *string           `json:"topic"`
	Error   string            `json:"error"`
	Until   json.RawMessage   `json:"until"`
	Numbers json.RawMessage   `json:"partitions"` // how many, or which
	Configs map[string]string `json:"configs"`

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
	Assignor        string            `json:"assignor"`
	Instance        string            `json:"instance"`
	Member          string            `json:"member"`
	Members         []string          `json:"members"`
	Commit          bool              `json:"commit"`
	CommitAt        map[string]int64  `json:"commit_at"`
	Seek            map[string]int64  `json:"seek"`
	To              map[string]int64  `json:"to"`
	At              any               `json:"at"`
	Before          map[string]int64  `json:"before"`
	Names           []string          `json:"names"`
	Set             map[string]string `json:"set"`
	Append          map[string]string `json:"append"`
	Subtract        map[string]string `json:"subtract"`
	Delete          []string          `json:"delete"`
	Ms              int               `json:"ms"`
}

type Generate struct {
	Count      int    `json:"count"`
	ValueBytes int    `json:"value_bytes"`
	Partition  *int32 `json:"partition"`
	Keys       int    `json:"keys"`
}

// Partitions is how many partitions the step speaks of.
func (s Step) Partitions() int32 {
	var count int32
	check(json.Unmarshal(s.Numbers, &count))
	return count
}

// Which are the partitions that the step lists.
func (s Step) Which() []int32 {
	var which []int32
	check(json.Unmarshal(s.Numbers, &which))
	return which
}

// A Report is one line of output.
type Report struct {
	Scenario string `json:"scenario"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason,omitempty"`
	Observed []any  `json:"observed"`
}

// Skip says why this client cannot do a step.
type Skip string

func (s Skip) Error() string { return string(s) }

// NoCall is the Skip of a step that the client has no call for.
func NoCall(step Step) Skip { return Skip("the client has no call for `" + step.Do + "`") }

// A Client is what one driver adds.
type Client interface {
	CarryOut(ctx context.Context, run *Run, step Step, topic string) (any, error)
	// ReadAsMember reads until ctx ends, commits, and tells the member what it was assigned and what it read.
	ReadAsMember(ctx context.Context, run *Run, member *Member) error
	// ErrorName is the protocol's name of an error, as the scenarios write it.
	ErrorName(err error) string
}

// A Run is one scenario's.
type Run struct {
	client Client
	// Prefix is put before every name, so that scenarios and runs do not meet.
	Prefix string
	// The number of the next generated record, by topic.
	generated map[string]int
	members   map[string]*Member
	read      *tally
}

// Main carries out the scenarios on standard input.
func Main(connect func(bootstrap string) (Client, error)) {
	client, err := connect(os.Args[1])
	check(err)
	var scenarios []Scenario
	check(json.NewDecoder(os.Stdin).Decode(&scenarios))
	for number, scenario := range scenarios {
		run := &Run{
			client: client, Prefix: fmt.Sprintf("%s-%d-", os.Args[2], number),
			generated: map[string]int{}, members: map[string]*Member{}, read: newTally(),
		}
		line, err := json.Marshal(run.do(scenario))
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

func (r *Run) do(scenario Scenario) Report {
	report := Report{Scenario: scenario.Name, Observed: []any{}}
	defer r.endMembers()
	for number, step := range scenario.Steps {
		where := fmt.Sprintf("step %d (%s): ", number+1, step.Do)
		seen, err := r.untilSeen(step)
		var skip Skip
		switch {
		case errors.As(err, &skip):
			report.Outcome, report.Reason = "skip", string(skip)
			return report
		case err != nil && step.Error != "" && r.client.ErrorName(err) == step.Error:
			seen = step.Error
		case err != nil:
			report.Outcome, report.Reason = "failed", where+r.client.ErrorName(err)+": "+err.Error()
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
func (r *Run) untilSeen(step Step) (any, error) {
	deadline := time.Now().Add(Patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), Patience+5*time.Second)
		seen, err := r.carryOut(ctx, step)
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

func (r *Run) carryOut(ctx context.Context, step Step) (any, error) {
	topic := ""
	if step.Topic != nil {
		topic = r.Prefix + *step.Topic
	}
	switch step.Do {
	case "pause":
		time.Sleep(time.Duration(step.Ms) * time.Millisecond)
		return nil, nil
	case "join":
		r.members[step.Member] = r.join(step, topic)
		return nil, nil
	case "leave":
		member := r.members[step.Member]
		delete(r.members, step.Member)
		return nil, member.leave()
	case "restart":
		member := r.members[step.Member]
		if err := member.leave(); err != nil {
			return nil, err
		}
		r.members[step.Member] = r.join(member.Step, member.Topic)
		return nil, nil
	case "assigned":
		return r.assigned()
	case "seen":
		return r.seen()
	case "disturbed":
		return r.disturbed(step), nil
	}
	return r.client.CarryOut(ctx, r, step, topic)
}

// FirstError is the first of them that is one.
func FirstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
