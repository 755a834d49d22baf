package steps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

type Header struct {
	Key   string
	Value []byte
}

// A Record is one to be written, or one that was read. To be written without a partition means: where the client's
// partitioner sends it.
type Record struct {
	Partition *int32
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp time.Time
}

// Wanted are the records that the step writes.
func (r *Run) Wanted(step Step, topic string) []Record {
	var timestamps []int64
	if step.Timestamps != nil {
		check(json.Unmarshal(step.Timestamps, &timestamps))
	}
	var records []Record
	for number, fields := range step.Records {
		partition := int32(fields[0].(float64))
		record := Record{Partition: &partition, Key: encoded(fields[1]), Value: encoded(fields[2])}
		for _, header := range fields[3:] {
			pair := header.([]any)
			record.Headers = append(record.Headers, Header{Key: pair[0].(string), Value: encoded(pair[1])})
		}
		if timestamps != nil {
			record.Timestamp = time.UnixMilli(timestamps[number])
		}
		records = append(records, record)
	}
	if generate := step.Generate; generate != nil {
		for range generate.Count {
			number := r.generated[topic]
			r.generated[topic]++
			value := bytes.Repeat([]byte{'.'}, generate.ValueBytes)
			copy(value, strconv.Itoa(number))
			record := Record{Value: value, Partition: generate.Partition}
			if generate.Keys > 0 {
				record.Key = []byte(fmt.Sprintf("k%d", number%generate.Keys))
			}
			records = append(records, record)
		}
	}
	return records
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

// Shown is how the step shows what was read.
func (s Step) Shown(records []Record) any {
	sort.SliceStable(records, func(i, j int) bool {
		a, b := records[i], records[j]
		return *a.Partition < *b.Partition || *a.Partition == *b.Partition && a.Offset < b.Offset
	})
	if s.Summary {
		return summary(records)
	}
	lines := []any{}
	for _, record := range records {
		line := []any{*record.Partition, record.Offset, text(record.Key), text(record.Value)}
		for _, header := range record.Headers {
			line = append(line, []any{header.Key, text(header.Value)})
		}
		switch string(s.Timestamps) {
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

func summary(records []Record) any {
	size, inOrder, byPartition := 0, true, map[string]int{}
	for i, record := range records {
		size += len(record.Value)
		byPartition[strconv.Itoa(int(*record.Partition))]++
		if i > 0 && *records[i-1].Partition == *record.Partition {
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

func numberOf(record Record) int {
	number, err := strconv.Atoi(strings.TrimRight(string(record.Value), "."))
	check(err)
	return number
}

// Int32 is the number that the text writes.
func Int32(text string) int32 {
	number, err := strconv.ParseInt(text, 10, 32)
	check(err)
	return int32(number)
}
