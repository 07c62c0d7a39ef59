// Package link is one Ethernet segment as homeconf sees it: a Port sends and
// receives the payloads of frames of one EtherType.
//
// There are two Ports. Open gives the real one, an AF_PACKET socket whose BPF
// filter keeps out what isn't for us; Keep opens it again whenever the
// interface comes back. Segment is the other one, in memory, with loss,
// duplication, reordering, delay and partition, for tests; it may be used in a
// testing/synctest bubble.
//
// ARP lives here too: Probe, Announce, Resolve and WatchConflicts.
//
// The package knows nothing of what the payloads mean.
package link
