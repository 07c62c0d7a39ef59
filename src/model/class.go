package model

import (
	"fmt"
	"strings"
)

// TrafficClass is a service class of RFC 4594, section 2.3, by which traffic to
// a device is marked.
type TrafficClass string

// The service classes, and none.
const (
	ClassNone           TrafficClass = "none" // traffic stays as it is
	ClassTelephony      TrafficClass = "telephony"
	ClassConferencing   TrafficClass = "multimedia-conferencing"
	ClassInteractive    TrafficClass = "real-time-interactive"
	ClassStreaming      TrafficClass = "multimedia-streaming"
	ClassBroadcastVideo TrafficClass = "broadcast-video"
	ClassLowLatency     TrafficClass = "low-latency-data"
	ClassThroughput     TrafficClass = "high-throughput-data"
	ClassLowPriority    TrafficClass = "low-priority-data"
)

// dscp has the codepoints of RFC 4594, figure 3; low-priority data is LE since
// RFC 8622.
var dscp = map[TrafficClass]uint8{
	ClassTelephony: 46, ClassConferencing: 34, ClassInteractive: 32, ClassStreaming: 26,
	ClassBroadcastVideo: 24, ClassLowLatency: 18, ClassThroughput: 10, ClassLowPriority: 1,
}

// ParseTrafficClass reads the name of a class.
func ParseTrafficClass(s string) (TrafficClass, error) {
	c := TrafficClass(s)
	if _, ok := dscp[c]; ok || c == ClassNone {
		return c, nil
	}
	names := make([]string, 0, len(TrafficClasses()))
	for _, c := range TrafficClasses() {
		names = append(names, string(c))
	}
	return "", fmt.Errorf("traffic class %.40q: want one of %s", s, strings.Join(names, ", "))
}

// TrafficClasses lists all classes, most urgent first.
func TrafficClasses() []TrafficClass {
	return []TrafficClass{ClassTelephony, ClassConferencing, ClassInteractive, ClassStreaming, ClassBroadcastVideo,
		ClassLowLatency, ClassThroughput, ClassLowPriority, ClassNone}
}

// DSCP is the class's codepoint, 0 to 63; false for a class that marks nothing.
func (c TrafficClass) DSCP() (uint8, bool) {
	v, ok := dscp[c]
	return v, ok
}
