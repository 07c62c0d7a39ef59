// Package lab is a set of test hosts on this machine: network namespaces joined
// by veths, with the real daemons of a home gateway in them.
//
// New makes a lab, Gateway the world of the main scene in it: a provider, a
// gateway with a bridge, NAT, dnsmasq and igmpproxy, and boxes to plug in. A
// supervisor, a process of its own, does what OpenWrt's procd and init scripts
// do: it watches the gateway's configuration folder, turns UCI into what the
// daemons load, and restarts them when that changed.
//
// All goes away with Close, and also when the process that made the lab dies in
// whatever way. The supervisor is the program that imports this package, started
// again: a program that imports lab needs to do nothing for that.
//
// Only tests and the demo import this package, and scene below it, which has
// homeconf itself running in such a lab.
package lab
