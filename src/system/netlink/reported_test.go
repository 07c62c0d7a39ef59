package netlink

import (
	"net"
	"testing"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's flags and package net's have other bits: a point-to-point link
// is no loopback.
func TestReported(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		name string
		a    nl.LinkAttrs
		want bool
	}{
		{"ethernet", nl.LinkAttrs{RawFlags: unix.IFF_UP | unix.IFF_BROADCAST, Flags: net.FlagUp | net.FlagBroadcast, HardwareAddr: mac}, true},
		{"point to point", nl.LinkAttrs{RawFlags: unix.IFF_UP | unix.IFF_POINTOPOINT, Flags: net.FlagUp | net.FlagPointToPoint, HardwareAddr: mac}, true},
		{"loopback", nl.LinkAttrs{RawFlags: unix.IFF_UP | unix.IFF_LOOPBACK, Flags: net.FlagUp | net.FlagLoopback, HardwareAddr: mac}, false},
		{"tunnel", nl.LinkAttrs{RawFlags: unix.IFF_UP, Flags: net.FlagUp, HardwareAddr: net.HardwareAddr{192, 0, 2, 1}}, false},
	} {
		if got := reported(&tt.a); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
