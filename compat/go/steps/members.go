package steps

import (
	"context"
	"errors"
	"maps"
	"sort"
	"sync"
	"time"
)

// A Member of a group reads by itself.
type Member struct {
	Step  Step
	Topic string

	read *tally
	end  context.CancelFunc
	done chan struct{}

	lock       sync.Mutex
	partitions map[int32]bool
	asked      map[int32]bool
	err        error
}

func (r *Run) join(step Step, topic string) *Member {
	ctx, cancel := context.WithCancel(context.Background())
	member := &Member{
		Step: step, Topic: topic, read: r.read, end: cancel, done: make(chan struct{}),
		partitions: map[int32]bool{}, asked: map[int32]bool{},
	}
	go func() {
		defer close(member.done)
		err := r.client.ReadAsMember(ctx, r, member)
		if err != nil && ctx.Err() == nil {
			member.lock.Lock()
			member.err = err
			member.lock.Unlock()
		}
	}()
	return member
}

// Assigned adds to what the member has.
func (m *Member) Assigned(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, partition := range partitions {
		m.partitions[partition] = true
	}
}

// Revoked takes from what the member has.
func (m *Member) Revoked(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, partition := range partitions {
		delete(m.partitions, partition)
	}
}

// Read counts a value that the member read and committed.
func (m *Member) Read(value []byte) {
	m.read.add(string(value))
}

func (m *Member) leave() error {
	m.end()
	select {
	case <-m.done:
		_, err := m.share()
		return err
	case <-time.After(Patience):
		return errors.New("the member does not end")
	}
}

func (m *Member) share() (map[int32]bool, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return maps.Clone(m.partitions), m.err
}

func (r *Run) endMembers() {
	for _, member := range r.members {
		member.end()
	}
}

func (r *Run) assigned() (any, error) {
	all, shares, sum := map[int32]bool{}, []int{}, 0
	for _, member := range r.members {
		share, err := member.share()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, share)
		shares, sum = append(shares, len(share)), sum+len(share)
	}
	if sum != len(all) {
		return "overlap", nil
	}
	sort.Ints(shares)
	return shares, nil
}

func (r *Run) seen() (any, error) {
	for _, member := range r.members {
		if _, err := member.share(); err != nil {
			return nil, err
		}
	}
	return r.read.counts(), nil
}

func (r *Run) disturbed(step Step) bool {
	changed := false
	for _, name := range step.Members {
		member := r.members[name]
		share, _ := member.share()
		changed = changed || !maps.Equal(share, member.asked)
		member.asked = share
	}
	return changed
}

// A tally of how often each value was read.
type tally struct {
	lock  sync.Mutex
	times map[string]int
}

func newTally() *tally { return &tally{times: map[string]int{}} }

func (t *tally) add(value string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.times[value]++
}

func (t *tally) counts() map[string]any {
	t.lock.Lock()
	defer t.lock.Unlock()
	twice := 0
	for _, times := range t.times {
		twice += times - 1
	}
	return map[string]any{"records": len(t.times), "twice": twice}
}
