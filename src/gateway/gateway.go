// Package gateway is what a home gateway is to the configurator: a small
// interface, the ledger of what we own on it, and the ordered way from what is
// there to what is wanted.
//
// Router is the real one. It writes UCI (gateway/uci), mangle chains
// (gateway/iptables) and looks at the kernel's multicast state
// (gateway/multicast). Memory is the one for tests.
package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"homeconf/src/model"
)

// Gateway is a home gateway.
//
// Set is repeatable: it compares what is wanted with what is really there, not
// with what it remembers. The zero GatewayState removes everything of ours.
// What is not ours is never changed; where it stands in the way, the device it
// hinders is left out and Change.Findings says so. Any other failure is an
// error, and what was done before it is undone.
//
// The Verify methods read the effect back and never change anything. Without
// ids they look at everything in want. An error means that looking failed; a
// difference is a Check that is not OK.
type Gateway interface {
	Facts(ctx context.Context) (model.Network, error)
	Set(ctx context.Context, want model.GatewayState) (Change, error)

	// RestoreLAN gives the LAN an address back that it had, in the form in
	// which the configuration has the present one, and asks the network to
	// reload. What the kernel then has is told by Facts.
	RestoreLAN(ctx context.Context, address netip.Prefix) error

	// Watch tells, until ctx ends, of changes that somebody else made to what
	// Facts and Set look at, and of what kind they are.
	Watch(ctx context.Context, changed func(what string)) error

	// Verify is the three below together.
	Verify(ctx context.Context, want model.GatewayState) ([]model.Check, error)
	// VerifyReservations asks the DHCP server for each reserved address,
	// again and again until ctx ends, because the server may be restarting.
	VerifyReservations(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error)
	// VerifyMarks compares the kernel's rules with those wanted.
	VerifyMarks(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error)
	// VerifyMulticast looks once at the proxy's interfaces, at the groups it
	// joined upstream and at the streams that flow.
	VerifyMulticast(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error)
}

// Reloader makes the service behind a UCI package take its configuration up.
type Reloader interface {
	Reload(ctx context.Context, pkg string) error
}

// Action is what a step did.
type Action string

// The actions.
const (
	Added   Action = "added"
	Changed Action = "changed"
	Removed Action = "removed"
	Reload  Action = "reloaded"
	Undone  Action = "undone"
)

// What a step or a check is about.
const (
	WhatReservation = "reservation"
	WhatMark        = "mark"
	WhatProxy       = "igmp-proxy"
	WhatGroup       = "group"
	WhatStream      = "stream"
	WhatService     = "service"
)

// Step is one thing that Set really did.
type Step struct {
	Action Action         `json:"Action"`
	What   string         `json:"What"`
	Device model.DeviceID `json:"Device,omitempty"`
	Text   string         `json:"Text"` // "192.168.1.50 for 02:00:00:00:00:01", a rule, a package
}

func (s Step) String() string {
	if s.Device == "" {
		return fmt.Sprintf("%s %s: %s", s.Action, s.What, s.Text)
	}
	return fmt.Sprintf("%s %s of %s: %s", s.Action, s.What, s.Device, s.Text)
}

// Change is what Set really did, in order, and what it found in its way.
type Change struct {
	Steps    []Step          `json:"Steps,omitempty"`
	Findings []model.Finding `json:"Findings,omitempty"`
}

// Empty says whether the gateway was already as wanted.
func (c Change) Empty() bool { return len(c.Steps) == 0 }

// Lines are the steps as text, for the history.
func (c Change) Lines() []string {
	out := make([]string, len(c.Steps))
	for i, s := range c.Steps {
		out[i] = s.String()
	}
	return out
}

// Reloaded lists the packages whose service was asked to reload.
func (c Change) Reloaded() []string {
	var out []string
	for _, s := range c.Steps {
		if s.Action == Reload {
			out = append(out, s.Text)
		}
	}
	return out
}

func (c Change) String() string { return strings.Join(c.Lines(), "\n") }

// The kinds of findings that Set and Facts make.
const (
	FindingReservationConflict = "reservation-conflict" // someone else's reservation has the address or the MAC
	FindingMarksUnsupported    = "marks-unsupported"    // there is no iptables program
	FindingProxyForeign        = "igmpproxy-foreign"    // igmpproxy is configured by somebody else, and otherwise
	FindingProxyMissing        = "igmpproxy-missing"    // the program is not installed
	FindingOverride            = "uci-override"         // /var/run/uci hides what we write
)

func finding(kind string, device model.DeviceID, text, step string) model.Finding {
	return model.Finding{ID: model.FindingID(kind, device), Kind: kind, Device: device, Text: text, Step: step}
}
