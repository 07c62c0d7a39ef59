package plan

import (
	"net/netip"

	"homeconf/src/model"
)

// Input is everything that a plan is made from. Nothing in it is changed.
type Input struct {
	Records []*model.Record
	// Profiles are the profiles that the owner configured, by name. They
	// stand before the built-in ones; one that bears a built-in's name
	// replaces it.
	Profiles map[string]model.Profile
	Network  model.Network
	Policy   Policy
	// Busy has who answered for an address that was probed (RFC 5227).
	Busy map[netip.Addr]model.MAC
	// Probed are the addresses that were probed, answered for or not.
	// Plan.Probe does not ask for them again.
	Probed map[netip.Addr]bool
}

// ManageProxy says whether homeconf may configure igmpproxy.
type ManageProxy string

// The values of option manage_igmpproxy.
const (
	ProxyNever  ManageProxy = "never"
	ProxyAsk    ManageProxy = "ask" // only after a person's yes
	ProxyAlways ManageProxy = "always"
)

// Agentless says what is done about devices without an agent.
type Agentless string

// The values of option agentless.
const (
	AgentlessList    Agentless = "list"    // shown, nothing more
	AgentlessSuggest Agentless = "suggest" // a finding says how one yes sets it up
)

// Policy is what the owner allows and wishes. The zero value has the defaults.
type Policy struct {
	ManageIGMPProxy ManageProxy                   // empty: ask
	IGMPRefused     bool                          // that yes was taken back
	IGMPAllowed     bool                          // a person said yes to configuring igmpproxy
	Agentless       Agentless                     // empty: suggest
	AltNets         []netip.Prefix                // where multicast is sent from upstream; empty: anywhere
	DNS             []netip.Addr                  // for static devices; empty: the gateway
	Exclude         []netip.Prefix                // addresses never to be given away
	Former          netip.Prefix                  // the LAN's subnet until it changed, while somebody may be there
	Refused         map[model.DeviceID]netip.Addr // what a device would not take
	Names           []string                      // host names that no device may take, such as the gateway's
}

// Line is one thing decided, about a device or, with no device, the home.
type Line struct {
	Device model.DeviceID `json:"Device,omitempty"`
	What   string         `json:"What"` // one of the What constants
	Value  string         `json:"Value"`
	Reason string         `json:"Reason"` // plain words, a clause without a full stop
}

// What a line is about.
const (
	WhatProfile     = "profile"
	WhatAddress     = "address"
	WhatReservation = "reservation"
	WhatSettings    = "settings"
	WhatClass       = "class"
	WhatMulticast   = "multicast"
)

// Plan is what the gateway and each device should be.
type Plan struct {
	Lines    []Line                            `json:"Lines"`
	Gateway  model.GatewayState                `json:"Gateway"`
	Settings map[model.DeviceID]model.Settings `json:"Settings"` // for agents; Generation is left 0
	// Addresses has the fixed address of every device of ours that has one,
	// also where a reservation made by hand gives it.
	Addresses map[model.DeviceID]netip.Addr `json:"Addresses"`
	Findings  []model.Finding               `json:"Findings"`
	Profiles  map[model.DeviceID]string     `json:"Profiles"` // of every device, ours or not
	// Probe lists addresses newly given that nobody has asked the wire about,
	// with some spare ones, so that one round of probes nearly always
	// suffices. Empty: the plan can be carried out.
	Probe []netip.Addr `json:"Probe,omitempty"`
}

// Make decides. While the plan's Probe is not empty, probe those addresses,
// add them to Probed and the answers to Busy, and make it again.
func Make(in Input) Plan {
	p := newPlanner(in)
	p.assignAddresses()
	p.nameReservations()
	for _, d := range p.devices {
		p.planDevice(d)
	}
	p.planMarks()
	p.keepFormer()
	p.planMulticast()
	p.lookAtHome()
	p.listProbes()
	return p.finish()
}

// spares is how many addresses are probed beyond those a plan gives out.
const spares = 4

// Candidates lists the addresses that Make may give a device of ours, the
// likeliest first: one it has or may keep, then the next free ones. It is nil
// for a device that gets no fixed address.
func Candidates(in Input, id model.DeviceID) []netip.Addr {
	p := newPlanner(in)
	p.assignAddresses()
	for _, d := range p.devices {
		if d.rec.ID == id && d.address.IsValid() {
			return append([]netip.Addr{d.address}, p.spareAddresses(spares)...)
		}
	}
	return nil
}
