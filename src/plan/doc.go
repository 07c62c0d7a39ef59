// Package plan decides what the gateway and each device should be, and says
// why for every line of it.
//
// It is pure: records, profiles, facts and policy in, a Plan out. It does no
// I/O and knows no clock, gives the same plan for the same input in whatever
// order that comes, and takes any input at all: records hold what devices say
// of themselves, and network facts what strangers put on the wire.
package plan
